import Platform

/// What the program can be asked to do.
enum BenchMode: String, CaseIterable, Sendable {
    case produce
    case consume
    case roundTrip = "round-trip"
    case metadata
    case limits
    case raft
    case raftRecovery = "raft-recovery"
    case raftWire = "raft-wire"

    var summary: String {
        switch self {
        case .produce: "send records and measure how soon they are acknowledged"
        case .consume: "read records and measure how many a second"
        case .roundTrip: "do both at once and measure how soon a record reaches a consumer"
        case .metadata: "make topics and change configurations, and measure how soon that is done"
        case .limits: "measure what this machine's disk and loopback can do at best"
        case .raft:
            "measure what the Raft library does by itself, with three replicas of each group"
        case .raftRecovery: "write a log of many Raft groups and measure its recovery"
        case .raftWire: "measure the wire between nodes over loopback, two of them in this process"
        }
    }
}

/// Everything the command line says; the initial values are the defaults.
struct BenchSettings: Sendable {
    var mode = BenchMode.produce
    var bootstrap = SocketAddress(host: "127.0.0.1", port: 9092)
    var topic = "chronik-bench"
    var partitions: Int32 = 1
    var replicationFactor: Int16 = -1
    var producers = 1
    var inFlight = 5
    var batchBytes = 64 << 10
    var recordsPerRequest: Int?
    var recordBytes = 100
    var records: Int?
    var durationMilliseconds: Int?
    var acks: Int16 = -1
    var isIdempotent = false
    var rate: Double?
    var compression = "none"
    var consumers = 1
    var clients = 64
    var from = ConsumePlan.Place.earliest
    var maxBytes = 16 << 20
    var entries = 1_000_000
    var groups: Int?
    var isCoreWanted = false
    var isIdleWanted = false
    var isActiveWanted = false
    var threads = 1
    var directory = "."
    var isJSON = false
    var isQuiet = false

    /// Varint lengths, deltas and the header count of a small record without a key.
    private static let recordOverhead = 9

    var effectiveRecordsPerRequest: Int {
        recordsPerRequest ?? max(1, batchBytes / (recordBytes + Self.recordOverhead))
    }

    /// Ten seconds when neither a time nor a number of records was given; consumers stop at the
    /// end of the topic instead.
    var effectiveDuration: Int64? {
        if let durationMilliseconds { return .milliseconds(Int64(durationMilliseconds)) }
        return records == nil && mode != .consume ? .seconds(10) : nil
    }
}
