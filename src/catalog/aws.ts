// What the product knows of AWS: of which region and service a host is, and which of its paths start work. Which hosts an agent may
// reach the configuration says, for they are regional. Data only; it must never hold a key.
import type { ScopeRule, Service } from '../model/service.ts'

const region = '(?<region>[a-z]{2}(?:-[a-z]+)+-\\d)'
const suffix = '(?:amazonaws\\.com|amazonaws\\.com\\.cn|api\\.aws)'
const rest = `\\.${region}\\.${suffix}$`

/** The endpoints of https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html. First rule that fits wins. */
const scopes: readonly ScopeRule[] = [
  // Endpoints without a region are signed for the one in which they stand.
  { host: /^(?<service>sts|iam|route53|cloudfront)\.amazonaws\.com$/, region: 'us-east-1' },
  { host: /^(?:[a-z0-9][a-z0-9.-]*\.)?s3\.amazonaws\.com$/, region: 'us-east-1', service: 's3' },
  { host: new RegExp(`^(?:[a-z0-9][a-z0-9.-]*\\.)?s3(?:-fips)?(?:\\.dualstack)?${rest}`), service: 's3' },
  { host: new RegExp(`^[a-z0-9]+\\.execute-api${rest}`), service: 'execute-api' },
  { host: new RegExp(`^[a-z0-9]+\\.lambda-url\\.${region}\\.on\\.aws$`), service: 'lambda' },
  { host: new RegExp(`^[a-z0-9-]+\\.${region}\\.(?<service>es|aoss)\\.${suffix}$`) },
  // What signs by another name than its endpoint's.
  { host: new RegExp(`^bedrock(?:-runtime|-agent|-agent-runtime)?(?:-fips)?${rest}`), service: 'bedrock' },
  { host: new RegExp(`^(?:api|runtime)\\.sagemaker${rest}`), service: 'sagemaker' },
  { host: new RegExp(`^api\\.ecr${rest}`), service: 'ecr' },
  { host: new RegExp(`^streams\\.dynamodb${rest}`), service: 'dynamodb' },
  { host: new RegExp(`^email(?:-fips)?${rest}`), service: 'ses' },
  { host: new RegExp(`^(?<service>[a-z][a-z0-9-]*?)(?:-fips)?${rest}`) },
]

const models = ['bedrock-runtime.*', 'bedrock-runtime-fips.*']

export const aws: Service = {
  name: 'aws',
  hosts: [],
  port: 443,
  scheme: 'https',
  slots: [{ kind: 'sigv4', scopes }],
  credential: 'required',
  placeholder: 'required',
  methods: [],
  actions: [
    // Whatever answers with secrets. What is asked for stands in a body that is not read, so all of it counts as that.
    { action: 'mint', hosts: ['sts.*', 'sts-fips.*', 'iam.*', 'cognito-identity.*', 'secretsmanager.*', 'api.ecr.*'], path: '/**' },
    { action: 'inference', hosts: models, path: '/model/*/invoke', methods: ['POST'] },
    { action: 'inference', hosts: models, path: '/model/*/invoke-with-response-stream', methods: ['POST'] },
    { action: 'inference', hosts: models, path: '/model/*/converse', methods: ['POST'] },
    { action: 'inference', hosts: models, path: '/model/*/converse-stream', methods: ['POST'] },
    { action: 'inference', hosts: models, path: '/model/*/count-tokens', methods: ['POST'] },
    { action: 'deferred', hosts: models, path: '/async-invoke', methods: ['POST'] },
    { action: 'deferred', hosts: ['bedrock.*', 'bedrock-fips.*'], path: '/model-invocation-job', methods: ['POST'] },
  ],
  basePrefix: '',
  allowPrivateAddresses: false,
  origins: [],
  cookies: [],
  // SDKs want a pair: whatever becomes of the half that they sign with, it is known again.
  keyPrefix: 'AKIA',
  keyVariables: ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'],
  runVariables: {
    AWS_EC2_METADATA_DISABLED: 'true',
    // Any of these leads an SDK past the pair.
    AWS_SESSION_TOKEN: null,
    AWS_SECURITY_TOKEN: null,
    AWS_PROFILE: null,
    AWS_DEFAULT_PROFILE: null,
    AWS_ROLE_ARN: null,
    AWS_WEB_IDENTITY_TOKEN_FILE: null,
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: null,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: null,
  },
  baseUrlVariables: [],
  modelField: null,
  modelPath: /^\/model\/([^/]+)\//,
  modelColon: true,
  // What goes over a socket of AWS is signed message by message.
  sockets: [],
  toolsField: null,
  tokenUrl: null,
}
