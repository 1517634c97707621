// Every queue, body, header block, cache, wait, count and retry has its limit here, by name, with its unit last.

export const limits = {
  // http: messages as bytes
  headBytesMax: 64 * 1024,
  headFieldsMax: 128,
  targetBytesMax: 16 * 1024,
  chunkLineBytesMax: 64,
  trailerBytesMax: 8 * 1024,
  trailerFieldsMax: 32,
  earlyAnswersMax: 8,
  /** Field names that one Connection may list. */
  connectionNamesMax: 16,
  /** Names of fields that are kept as strings; strangers choose them. */
  namesRememberedMax: 1_024,
  rememberedNameBytesMax: 64,
  /** Of a body whose reader paused: an owner that pauses when told never comes near it. */
  queuedBodyBytesMax: 8 * 1024 * 1024,

  // accept: towards agents
  connectionsMax: 12_000,
  /** Connections that the kernel holds for a listener until we take them. */
  acceptQueueMax: 4_096,
  /** Of one run, else of one local user, else of one address. */
  connectionsPerSenderMax: 4_000,
  /** File descriptors that no connection may take: of the log, the store, doors and readers. Fewer connections where there are few. */
  descriptorsReserved: 256,
  /** Calls of one workload under way: in all, and to one host with one credential, where others must find room beside it. */
  callsPerWorkloadMax: 4_096,
  callsPerWorkloadAndHostMax: 1_536,
  helloBytesMax: 16 * 1024,
  handshakeMs: 10_000,
  headMs: 30_000,
  /** How long what still comes is read and dropped behind a last answer (RFC 9112 §9.6). */
  lingerMs: 2_000,
  insideLineBytesMax: 32,
  idleMs: 650_000,
  bodyStallMs: 600_000,
  callMs: 24 * 3_600_000,
  tunnelsPerWorkloadMax: 64,
  tunnelIdleMs: 600_000,
  // A message that is read is held whole, so this is memory: per workload at most socketsPerWorkloadMax times as much.
  socketMessageBytesMax: 8 * 1024 * 1024,
  socketFramesMax: 16_384,
  socketsPerWorkloadMax: 64,
  socketPingMs: 30_000,
  socketSilentPingsMax: 3,
  socketCloseMs: 2_000,
  leafCacheMax: 1_000,
  // HTTP/2: one connection's abuse ends with its GOAWAY
  h2StreamsMax: 100,
  h2WindowBytes: 65_535,
  h2CookieCrumbsMax: 64,
  /** Resets by the agent that come at once, and a second after that (CVE-2023-44487). */
  h2ResetsMax: 200,
  h2ResetsPerSecondMax: 50,
  /** PING and SETTINGS of the peer; gRPC measures its line by PING as often as data comes. */
  h2ControlFramesPerSecondMax: 1_000,
  h2InvalidFramesMax: 100,
  h2RejectedStreamsMax: 100,
  leafValidMs: 24 * 3_600_000,

  // identify
  evidenceBytesMax: 16 * 1024,
  identityMs: 300_000,
  identifyMs: 10_000,
  attributesMax: 200,
  attributeCharsMax: 2_048,
  claimDepthMax: 6,
  executableBytesMax: 512 * 1024 * 1024,
  ownerScanProcessesMax: 20_000,
  /** An agent with very many descriptors must not make everybody else wait. */
  ownerDescriptorsMax: 200_000,
  ownerWaitingMax: 4_096,
  ownerMs: 10_000,
  ancestryMax: 64,
  // the reader of process facts: a question, an answer, how many may ask and wait, how long, and how soon it is looked for again
  readerQuestionBytesMax: 16 * 1024,
  readerAnswerBytesMax: 32 * 1024,
  readerConnectionsMax: 4,
  readerRootsMax: 1_000,
  readerWaitingMax: 4_096,
  readerMs: 10_000,
  readerAgainMs: 1_000,
  clockSkewMs: 60_000,
  tokenAgeMs: 24 * 3_600_000,
  seenTokensMax: 100_000,
  jwksBytesMax: 256 * 1024,
  jwksMs: 5_000,
  jwksKeysMax: 64,
  jwksCooldownMs: 30_000,
  jwksFreshMs: 600_000,

  // decide
  readBodyBytesMax: 4 * 1024 * 1024,
  /** A body that is only searched for one flag: longer is taken to hold it. Agents that send pictures reach megabytes. */
  searchedBodyBytesMax: 16 * 1024 * 1024,
  /** A body of which the client has stated no hash, for a signature: AWS takes 20 MB and a little at Bedrock. */
  signedBodyBytesMax: 32 * 1024 * 1024,
  heldBodiesPerWorkloadBytesMax: 512 * 1024 * 1024,
  jsonDepthMax: 64,
  memoPerWorkloadMax: 2_000,
  memoWorkloadsMax: 10_000,
  /** Sets of policies that some request matched, what finds them again, and how many lie in the engine. */
  slicesMax: 1_000,
  sliceLookupsMax: 10_000,
  engineSlotsMax: 256,
  asksMax: 100,
  factMs: 5_000,
  postureMs: 4_000,
  postureBytesMax: 64 * 1024,
  postureLogBytesMax: 64 * 1024 * 1024,
  postureListBytesMax: 4 * 1024 * 1024,
  postureSimulateMs: 20_000,
  locationBytesMax: 256 * 1024 * 1024,
  /** A file that configuration names. */
  configuredFileBytesMax: 4 * 1024 * 1024,

  // inject and catalog
  /** Foreign credentials that a record names: more would not fit its field. */
  foreignNamedMax: 4,
  /** How often a text is percent-decoded in search of a placeholder. */
  unescapesMax: 3,
  scannedCharsMax: 64 * 1024,
  pathsRememberedMax: 1_024,

  // obtain
  leaseMs: 15 * 60_000,
  federatedLeaseMs: 30 * 60_000,
  leasesMax: 10_000,
  exchangeMs: 15_000,
  exchangeBytesMax: 64 * 1024,
  assertionMs: 300_000,
  secretBytesMax: 64 * 1024,

  // forward
  dialMs: 10_000,
  resolveMs: 5_000,
  /**
   * Threads for what the system does in its own time, files and names. libuv gives at most half to names, so no file waits for them.
   * A thread at rest costs 8 KB.
   */
  poolThreads: 32,
  /** Lookups under way: in all, of one workload, and its names whose turn has not come, each for so long. */
  lookupsMax: 16,
  lookupsPerSenderMax: 4,
  lookupsWaitingPerSenderMax: 1_024,
  lookupWaitMs: 5_000,
  addressesMax: 32,
  /** For the answer of the network's own proxy to CONNECT: it dials, and may wait for a check of its own. */
  proxyConnectMs: 30_000,
  poolPerHostMax: 2_048,
  poolIdleMs: 60_000,
  poolWaitMax: 4_096,
  poolWaitMs: 10_000,
  h2ConnectionsPerHostMax: 24,
  h2AnswerWindowBytes: 256 * 1024,
  h2ConnectionWindowBytes: 8 * 1024 * 1024,
  /** After so long without a byte from the API a connection with calls under way is asked by PING, and given up after as long again. */
  h2SilenceMs: 15_000,
  /** A compressed answer that says to be no longer is awaited whole: who sends its length has it ready. */
  gatheredAnswerBytesMax: 64 * 1024,
  answerHeadMs: 610_000,
  answerStallMs: 610_000,

  // scrub
  /** So many characters of a secret behind its public prefix are taken for it. */
  recognisedCharsMin: 16,
  shortSecretCharsMin: 32,
  bufferedAnswerBytesMax: 8 * 1024 * 1024,
  inflateRatioMax: 1_000,
  inflateBytesMax: 1024 * 1024 * 1024,

  // audit
  entryBytesMax: 4 * 1024,
  entryFieldBytesMax: 512,
  queuedEntriesMax: 16_384,
  /** For a write and its sync; a volume of a cloud may stand still for seconds. */
  journalMs: 15_000,
  /** Notes of one record. */
  notesMax: 32,
  /** Records that are open while a log is read. */
  openRecordsMax: 100_000,
  openIntentsMax: 100_000,
  /** Full tiles that wait for the disk before it is asked at once, and before calls are refused. */
  unwrittenTilesMax: 64,
  refusedTilesMax: 512,
  recoveredIdsMax: 64,
  checkpointMs: 1_000,
  /** How long a copy of the last checkpoint elsewhere may hold up the end. */
  copyWaitMs: 2_000,
  pruneEveryMs: 3_600_000,
  refusalWindowMs: 1_000,
  refusalSendersMax: 4_096,
  auditBytesPerSecondPerWorkload: 32 * 1024 * 1024,
  /** How long the log waits for a file descriptor when none is left, before it refuses until the restart. */
  descriptorWaitMs: 60_000,
  auditReserveBytes: 64 * 1024 * 1024,

  // runs
  runsMax: 10_000,
  /** Kinds of blocked calls that are remembered for the list at a run's end. */
  blockedKindsPerRunMax: 50,
  /** Open runs inside of one run, at any depth. */
  innerRunsMax: 64,
  /** Labels that a starter states for a run; each stands in every record of it. */
  runLabelsMax: 8,
  tripsBeforeSuspension: 3,
  tripWindowMs: 60_000,
  crossingsMax: 32,

  // init: how far it searches a home
  initSearchMs: 15_000,
  initEntriesMax: 400_000,
  initDepthMax: 5,
  initFileBytesMax: 64 * 1024 * 1024,
  initReadMs: 60_000,
  initKeysMax: 1_000,
  initGitMs: 5_000,

  // endpoints and doors
  adminBodyBytesMax: 1024 * 1024,
  doorLineBytesMax: 64 * 1024,
  revokeMs: 1_000,
  drainMs: 10_000,

  // wire: between the processes of one installation
  /** A process of the data plane builds a world of policies before it answers that a reload is in force there. */
  wireReloadMs: 10_000,
  wireAsksMax: 16_384,
  /** From its start to its first connection. */
  processStartMs: 30_000,
  processAgainMs: 1_000,
} as const

export type Limits = typeof limits
