/// What one worker has counted so far; those of all workers add up.
struct Tally: Sendable {
    var sentRecords = 0
    /// Acknowledged by the broker, or consumed.
    var records = 0
    /// Bytes of the values of ``records``.
    var valueBytes = 0
    var requests = 0
    /// Records that failed, by Kafka's name of the reason.
    var errors: [String: Int] = [:]
    /// Request to answer; in an open loop from the moment the request was meant to leave.
    var latency = QuantileHistogram()
    /// How late this program itself woke to send requests of an open loop.
    var lateness = QuantileHistogram()
    /// Departure of a batch to its arrival at a consumer.
    var endToEnd = QuantileHistogram()

    var failedRecords: Int { errors.values.reduce(0, +) }

    mutating func fail(_ reason: String, records: Int) { errors[reason, default: 0] += records }

    mutating func merge(_ other: Tally) {
        sentRecords += other.sentRecords
        records += other.records
        valueBytes += other.valueBytes
        requests += other.requests
        errors.merge(other.errors) { $0 + $1 }
        latency.merge(other.latency)
        lateness.merge(other.lateness)
        endToEnd.merge(other.endToEnd)
    }
}
