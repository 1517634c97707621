// What the reference page of the configuration holds beside the schemas: one example that loads, and the meaning of fields whose
// schema does not say it. A field that comes to say it itself leaves this list; a test sees to that.

export const example = `trustDomain: acme.example
listen: { proxy: 127.0.0.1:7070, baseUrl: 127.0.0.1:7071 }
trustProviders:
  prod-cluster: { oidc: { issuer: https://oidc.acme.example } }
workloads:
  research-agent:                                # one agent
    groups: [research]
    labels: { stage: production }                # stated by you; what was proven stands under principal.proven
    identify: { process: { user: root, systemUnit: research.service } }
  pod-agents:                                    # one rule, many agents
    path: "/ns/{namespace}/sa/{serviceAccount}"  # only from proven attributes; a missing one is a no
    groups: [pods]
    identify: { oidc: { issuer: prod-cluster, subject: { prefix: "system:serviceaccount:agents:" } } }
  coder: { run: { startedBy: [alice], custody: namespace } }
services:
  openai: {}                                     # known by the catalog
  docs-site: { hosts: [docs.acme.example], credential: none, methods: [GET, HEAD] }
  crm: { hosts: [crm.acme.example], slot: { header: X-Api-Key }, allowPrivateAddresses: true }
tunnels:
  - { host: updates.acme.example, reason: pins its certificate }
credentials:
  openai-research: { service: openai, for: [research], openai-federation: { provider: idp_1, serviceAccount: sa_1 } }
  openai-pods: { service: openai, for: [pods], static-key: { secret: openai-pods }, leaseMinutes: 15 }
  crm: { service: crm, for: [coder], static-key: { secret: crm } }
conditions:
  businessHours: { time-window: { zone: Europe/Berlin, days: mon-fri, from: "08:00", to: "18:00" } }
policies:
  - cedar: |
      @id("research may use models in business hours")
      permit (principal in Group::"research", action in Action::"inference", resource == Service::"openai")
      when { context.facts.businessHours && principal.labels.stage == "production" };
      @id("nobody mints keys")
      forbid (principal, action in Action::"mint", resource);
`

/** `field` of the frame, or `section: field` → what it means. */
export const meanings: Readonly<Record<string, string>> = {
  dataDir: 'Where keys, secrets and the log lie; readable by Ostiary alone. Default: ~/.local/share/ostiary',
  log: 'The least level that is logged.',
  listen: 'HOST:PORT of each listener.',
  'listen.proxy': 'The proxy: CONNECT and absolute form.',
  'listen.baseUrl': 'For clients that take a base URL: /openai/v1 and the like.',
  'listen.metrics': 'Prometheus metrics; left out, they are not served.',
  egress: 'The way out.',
  'egress.dangerouslyFixedAddresses':
    'Hosts that lead to an address that you name; for tests. A secret of the real host does not open here.',
  'egress.dangerouslyFixedAddresses[].host': 'The name.',
  'egress.dangerouslyFixedAddresses[].address': 'HOST:PORT that is dialled instead.',
  'egress.dangerouslyFixedAddresses[].reason': 'Why; for the next who reads this file.',
  tunnels: 'Hosts that are let through unread, if policy permits the action `tunnel`.',
  'tunnels[].host': 'The name; the TLS hello must name it too.',
  'tunnels[].reason': 'Why it cannot be intercepted.',
  policies: 'Cedar: files by pattern, relative to this file, or text in place. No policy: every call is refused.',
  suspension: 'When a run is suspended by its own attempts at what is not its own.',
  'suspension.trips': 'So many alerts suspend it.',
  'suspension.windowSeconds': 'Within so many seconds.',
  'workloads: run.startedBy': 'Users, by name or uid.',
  'workloads: run.custody': '`namespace`: a run that shares its starter’s user is refused.',
  'services: hosts': 'Exact names. Default: as in the catalog.',
  'services: port': 'Default: as in the catalog, else 443, or 80 for http.',
  'services: scheme': '`http` only where no credential goes. Default: https',
  'services: slot.header': 'Name of the field.',
  'services: slot.query': 'Name of the parameter.',
  'services: credential': '`none`: it takes no credential, and what looks like one is refused. Default: required',
  'services: methods': 'The methods that are allowed. Default: all',
  'services: actions': 'Paths as actions, first fit; in place of the catalog’s.',
  'services: actions[].action': 'The word that policies use.',
  'services: actions[].methods': 'Default: any',
  'services: actions[].path': '`*` is one segment or a part of one, `**` any rest.',
  'services: allowPrivateAddresses': 'Its name may resolve to a private address.',
  'services: origins': 'Web pages that may call it by the base URL outside a run.',
  'services: cookies': 'Cookies of its answers that pass to the agent.',
  'credentials: service': 'Name of the service.',
  'credentials: leaseMinutes': 'Longest life of a lease. Default: 15 for a sealed key, 30 for federation',
  'static-key: slot.header': 'Name of the field.',
  'static-key: slot.query': 'Name of the parameter.',
  'openai-federation: clientId': 'Id of the client, where the vendor’s set-up gives one.',
  'process rule: user': 'Name or uid of its user.',
  'process rule: systemUnit': 'The systemd unit that it runs in.',
  'process rule: container': 'Full id of its container.',
  'process rule: executable': 'Absolute path of its executable.',
  'process rule: sha256': 'Hash of its executable.',
  'process rule: underRun': '`true`: only inside a run of this workload.',
  'oidc: issuer': 'The issuer, exactly as tokens name it.',
  'oidc: audience': 'What a token must be issued for, alone. Default: the audience of this installation',
  'oidc: jwks': 'Keys of an issuer that cannot be reached: a file, or the set itself.',
  'oidc: algorithms': 'Signature algorithms that are accepted.',
  'oidc: singleUse': 'The issuer mints a token for each request and gives it a jti, which is demanded.',
  'oidc: maxLifetime': 'Longest lifetime of a token that is accepted, seconds.',
  'oidc rule: issuer': 'Name of the trust provider; may be left out where only one is of this kind.',
  'oidc rule: subject': 'The `sub` claim, whole or by its beginning.',
  'oidc rule: subject.prefix': 'What it begins with.',
  'oidc rule: claims': 'Further claims that must have these values.',
  'time-window: holidays.file': 'A file with one date a line.',
  'location: region': 'Where the region of a workload is read from.',
}
