// Every expected no, in ONE table. A code begins with the folder that says it and is never reused.
// `says` is constant text for the caller; `detail` and `cause` go to the audit only, never to the wire.

interface Row {
  /** HTTP status towards the agent. */
  readonly status: number
  /** RFC 6749 §5.2 error where an OAuth endpoint says it. */
  readonly oauth?: string
  readonly says: string
  /** What a person does about it; shown by `ostiary explain CODE` only. */
  readonly mend: string
}

const row = (status: number, says: string, mend: string, oauth?: string): Row =>
  oauth === undefined ? { status, says, mend } : { status, says, mend, oauth }

export const refusals = {
  // http: the message itself
  'http.malformed': row(400, 'The request is not valid HTTP.', 'Look at the detail in the audit entry; the strict reader names the rule that was broken (RFC 9112, RFC 9113).'),
  'http.head_too_large': row(431, 'The head of the request is too large.', 'Send fewer or shorter header fields; the limit is headBytesMax.'),
  'http.target_too_long': row(414, 'The request target is too long.', 'Shorten the URL; the limit is targetBytesMax.'),
  'http.method_unknown': row(501, 'The method is not known here.', 'Use a standard method; TRACE and unknown verbs are refused.'),
  'http.version': row(505, 'This version of HTTP is not spoken here.', 'Speak HTTP/1.1; or HTTP/2, inside an intercepted tunnel (ALPN) and on the base-URL listener (prior knowledge).'),
  'http.timeout': row(408, 'The request did not arrive in time.', 'The client was silent for longer than headMs or bodyStallMs.'),

  // accept: connection and target
  'accept.disagree': row(421, 'Authority, SNI and Host name different hosts.', 'The client must name one host in CONNECT, TLS and Host.'),
  'accept.ambiguous_path': row(400, 'The path can be read in more than one way.', 'Send the path without encoded slashes, dot segments, doubled slashes, semicolons or encoded percent signs.'),
  'accept.bad_authority': row(400, 'The authority of the request is not usable.', 'Use HOST:PORT with a plain host name; a tunnel leads to port 443 only.'),
  'accept.host_unmanaged': row(403, 'No service manages this host.', 'Add the host to a service in the configuration, or permit a tunnel to it.'),
  'accept.not_here': row(404, 'Nothing is served at this path.', 'On the base-URL listener a path begins with the name of a service, e.g. /openai/v1.'),
  'accept.host_wrong': row(421, 'This listener answers only to its own name.', 'Call the listener by the address that `ostiary status` prints.'),
  'accept.browser': row(403, 'Requests of web pages are refused.', 'A request carried Origin or Sec-Fetch-Site; list the origin at the service if it is meant.'),
  'accept.too_many': row(503, 'Too many connections or calls.', 'A limit on connections, tunnels, sockets or calls was reached, of one sender or in all; the record names it.'),
  'accept.not_tls': row(403, 'The tunnel did not begin with a TLS hello for its host.', 'A tunnel carries TLS whose SNI is the CONNECT host, without ECH.'),
  'accept.upgrade': row(501, 'The protocol upgrade is not supported.', 'Only a WebSocket (RFC 6455, version 13) by a sound GET over HTTP/1.1 can be opened.'),

  // identify: who is it
  'identify.none': row(403, 'The caller could not be identified.', 'No trust provider proved who connects; see `ostiary doctor` and the audit entry.'),
  'identify.credentials_required': row(407, 'A token is required to identify the caller.', 'Present a token as Proxy-Authorization (Bearer, or the password of Basic).'),
  'identify.no_workload': row(403, 'No workload matches the caller.', 'Add a workload whose rule fits the facts in the audit entry.'),
  'identify.ambiguous': row(403, 'More than one workload matches the caller.', 'Make the rules of the named workloads exclusive.'),
  'identify.process_unknown': row(403, 'The calling process could not be determined.', 'Exactly one process must own the connection; see the audit entry.'),
  'identify.not_in_run': row(403, 'The pointer names a run that the caller is not in.', 'Start the command by `ostiary run`; a proxy URL is worthless outside its run.'),
  'identify.run_ended': row(403, 'The run has ended.', 'Start a new one by `ostiary run`.'),
  'identify.suspended': row(403, 'The run is suspended.', '`ostiary status` shows why, `ostiary resume RUN` ends it.'),
  'identify.changed': row(403, 'The calling process changed while it was identified.', 'Try again; if it stays, another process shares the connection.'),
  'identify.token_malformed': row(403, 'The token is not acceptable.', 'The token is not a compact JWS of an allowed algorithm within 16 KiB; see the audit entry.', 'invalid_client'),
  'identify.token_expired': row(403, 'The token is not acceptable.', 'The token has expired or is not yet valid.', 'invalid_client'),
  'identify.token_audience': row(403, 'The token is not acceptable.', 'The token must have exactly this installation as its audience.', 'invalid_client'),
  'identify.token_issuer': row(403, 'The token is not acceptable.', 'The issuer is not a configured trust provider.', 'invalid_client'),
  'identify.token_signature': row(403, 'The token is not acceptable.', 'No key of the issuer verifies the signature.', 'invalid_client'),
  'identify.token_replayed': row(403, 'The token is not acceptable.', 'The token was first presented by another holder; this one is refused and an alert recorded.', 'invalid_client'),
  'identify.keys_unavailable': row(403, 'The token could not be verified.', 'The keys of the issuer could not be fetched; see the audit entry.'),
  'identify.transport': row(403, 'A token may not be presented on this connection.', 'Tokens are accepted on loopback, a Unix socket or TLS only.'),

  // decide: may it
  'decide.denied': row(403, 'No policy permits this request.', '`ostiary explain` shows which policies were considered and why none permits.'),
  'decide.forbidden': row(403, 'A policy forbids this request.', 'The audit entry names the policy.'),
  'decide.fact_missing': row(403, 'A fact that policy needs is missing or stale.', 'The audit entry names the fact and how to mend it.'),
  'decide.body_unreadable': row(403, 'The body cannot be read as policy demands.', 'Policy reads the body: send UTF-8 JSON without duplicate keys, unencoded and within the limit.'),
  'decide.busy': row(503, 'Too many bodies are being read.', 'One workload sent more at once than policy holds while it reads: the limit heldBodiesPerWorkloadBytesMax.'),
  'decide.policy_error': row(403, 'Policy could not be evaluated.', 'A policy raised an error for this request; see the audit entry and `ostiary check`.'),
  'decide.method': row(403, 'The service does not allow this method.', 'The service lists its methods in the configuration; headers and parameters that override method or path are refused.'),
  'decide.signed_body': row(403, 'The body is too large to be signed.', 'The signature covers the hash of a body that the client has not stated: it is read whole, up to the limit signedBodyBytesMax. Clients of S3, and those that send x-amz-content-sha256, send any size.'),
  'decide.socket': row(403, 'The service takes no WebSocket here.', 'The catalog lists the paths of the service at which one can be opened.'),
  'decide.feed_lost': row(403, 'Policy is too old to decide.', 'The connection to the broker was lost for longer than the bound.'),

  // obtain: with which credential
  'obtain.no_credential': row(403, 'No credential fits this workload and service.', 'Add a credential whose `for` names the workload or a group of it.'),
  'obtain.secret_missing': row(503, 'The credential is not available.', 'Store the secret by `ostiary secret set`.'),
  'obtain.purpose': row(503, 'The credential is not available.', 'The secret was sealed for another purpose; type it again for this one.'),
  'obtain.exchange_refused': row(502, 'The vendor refused to issue a credential.', 'Check the federation set-up with `ostiary credential setup NAME`.'),
  'obtain.exchange_failed': row(502, 'The credential could not be obtained.', 'The token endpoint could not be reached or answered nonsense; see the audit entry.'),
  'obtain.revoked': row(403, 'The credential was revoked.', '`ostiary status` lists revocations.'),

  // inject: onto the wire
  'inject.no_placeholder': row(403, 'The placeholder of this run must stand in the credential slot.', 'Let the client use the key variables that `ostiary run` sets; bring no key of your own.'),
  'inject.foreign_placeholder': row(403, 'A placeholder stands where it does not belong.', 'An alert was recorded. Placeholders work only in their own slot of their own service.'),
  'inject.foreign_credential': row(403, 'The request carries a credential that Ostiary did not give.', 'Bring no key of your own to a managed service; where the client insists on one, give it a text that is no key. The alert says whose it looks like, and a keyed hash by which it is known again.'),
  'inject.web_page': row(403, 'Requests of web pages get no credential.', 'Outside a run a request carried Origin or Sec-Fetch-Site; list the origin at the service if it is meant.'),
  'inject.signature': row(403, 'A signature of this kind cannot be made anew.', 'Ostiary signs by AWS4-HMAC-SHA256 in the Authorization header. Signed URLs, SigV4A and bodies that are signed piece by piece (STREAMING-AWS4-...) are refused.'),
  'inject.scope': row(403, 'The request is signed for another region or service than its host is of.', 'Region and service are derived from the host: let the client use the region of the endpoint, or the endpoint of its region.'),
  'inject.bad_value': row(503, 'The credential cannot be sent.', 'The secret has CR, LF, NUL or other characters that a header field cannot carry.'),

  // audit: on record first
  'audit.unavailable': row(503, 'The request cannot be recorded, so it is refused.', 'Look at disk space and the log; without a durable record nothing is forwarded.'),
  'audit.timeout': row(503, 'The request could not be recorded in time, so it is refused.', 'The disk of the log did not answer for longer than journalMs; calls go on when it does.'),
  'audit.too_much': row(429, 'The workload records too much.', 'The byte rate of the audit for one workload was reached.'),

  // forward: to the API
  'forward.address_refused': row(403, 'The address of the host is not allowed.', 'The name resolves to a private, link-local, metadata or own address; a service may allow private ones.'),
  'forward.resolve': row(502, 'The host could not be resolved.', 'Check DNS on the machine of the proxy.'),
  'forward.connect': row(502, 'The host could not be reached.', 'Check the network on the machine of the proxy.'),
  'forward.certificate': row(502, 'The certificate of the host is not acceptable.', 'Check the certificate, or name an extra CA in the configuration (egress.extraCa).'),
  'forward.proxy': row(502, 'The proxy of this network did not open the connection.', 'Ask of egress.proxy: is it there, and does it let this host through? The detail has its status.'),
  'forward.proxy_authentication': row(502, 'The proxy of this network wants a login.', 'Ostiary logs in nowhere on the way out: let this machine through, or name a helper on loopback that logs in (cntlm, px).'),
  'forward.inspected': row(502, 'The connection is read on the way, so no credential goes through it.', 'Put the host under egress.noProxy, or write egress.inspects: true if the proxy of this network may see the credentials.'),
  'forward.bad_answer': row(502, 'The answer of the host is not valid HTTP.', 'See the audit entry for what was wrong.'),
  'forward.reset': row(502, 'The host closed the connection.', 'Try again; the request is not repeated by the proxy.'),
  'forward.timeout': row(504, 'The host did not answer in time.', 'The host was silent for longer than the limit.'),
  'forward.busy': row(503, 'Too many requests wait for this host.', 'A limit on connections to one host or on the lookup of names was reached; the record names it.'),

  // scrub: nothing comes back
  'scrub.encoding': row(502, 'The answer has an encoding that cannot be checked.', 'The host used a content encoding other than gzip, br, deflate or zstd.'),
  'scrub.broken': row(502, 'The answer cannot be decoded.', 'The host sent a broken or over-large compressed body.'),
  'scrub.short_secret': row(502, 'The answer cannot be checked.', 'The secret is too short to be searched for in a stream, and the answer too large to buffer.'),

  // runs and doors
  'runs.not_allowed': row(403, 'You may not start a run of this workload.', 'The workload lists in `run.startedBy` who may.'),
  'runs.inside': row(403, 'This is refused inside a run.', 'Use a terminal outside any run.'),
  'runs.unknown': row(404, 'There is no such run.', '`ostiary status` lists the runs.'),
  'runs.crossing': row(403, 'A crossing of the run\'s network is refused.', '`--reach` names a destination of your own, never a metadata or link-local address and never Ostiary itself.'),
  'runs.custody': row(403, 'The workload demands a custody that this run does not have.', 'Start the run where namespaces are allowed, or change `run.custody`.'),

  // wire: between the processes of one installation
  'wire.no_answer': row(503, 'Another process of the proxy did not answer.', 'The broker or a process of the data plane is overloaded or ended; the log of the server says which.'),

  // flow
  'flow.defect': row(500, 'Something went wrong here; it is recorded under the id.', 'Report it with the id and the log line.'),
  'flow.draining': row(503, 'The proxy is shutting down.', 'Try again after the restart.'),
  'flow.revoked': row(403, 'The permission for this call was withdrawn.', 'The run, workload, credential or policy was revoked while the call was under way.'),
} as const satisfies Record<string, Row>

export type RefusalCode = keyof typeof refusals

/** An expected no. `message` is the detail for the audit; what the caller reads is `says` of the table. */
export class Refusal extends Error {
  readonly code: RefusalCode
  readonly detail: string

  constructor(code: RefusalCode, detail = '', cause?: unknown) {
    super(detail === '' ? code : `${code}: ${detail}`, cause === undefined ? undefined : { cause })
    this.name = 'Refusal'
    this.code = code
    this.detail = detail
  }

  get status(): number {
    return refusals[this.code].status
  }

  get says(): string {
    return refusals[this.code].says
  }
}

/** Detail of a forward.reset that is the agent's own doing. */
export const agentLeft = 'the agent left'

/** All mistakes of a configuration at once: where, what is wrong, what to write. */
export interface Mistake {
  readonly file: string
  /** 1-based; 0 where no line can be named. */
  readonly line: number
  /** Path inside the file, e.g. `workloads.coder.run`. */
  readonly path: string
  readonly wrong: string
  readonly write: string
}

export class ConfigMistakes extends Error {
  readonly mistakes: readonly Mistake[]

  constructor(mistakes: readonly Mistake[]) {
    super(`${mistakes.length} mistake${mistakes.length === 1 ? '' : 's'} in the configuration`)
    this.name = 'ConfigMistakes'
    this.mistakes = mistakes
  }
}
