/// What all producers together are to send.
struct ProducePlan: Sendable {
    let layout: TopicLayout
    let acks: Int16
    let isIdempotent: Bool
    let producers: Int
    let inFlight: Int
    let recordBytes: Int
    let recordsPerRequest: Int
    /// Records of all producers; `nil` until the time is over.
    let records: Int?
    let durationNanoseconds: Int64?
    /// When each request leaves; `nil` as soon as it may.
    let schedule: SendSchedule?

    init(_ settings: BenchSettings, _ layout: TopicLayout) {
        self.layout = layout
        acks = settings.acks
        isIdempotent = settings.isIdempotent
        producers = settings.producers
        inFlight = settings.inFlight
        recordBytes = settings.recordBytes
        recordsPerRequest = settings.effectiveRecordsPerRequest
        records = settings.records
        durationNanoseconds = settings.effectiveDuration
        schedule = settings.rate.map {
            SendSchedule(
                rate: $0,
                recordsPerRequest: settings.effectiveRecordsPerRequest,
                producers: settings.producers
            )
        }
    }

    /// Requests of one producer: an equal share, the first ones taking one more of the rest.
    func requests(of producer: Int) -> Int {
        guard let records else { return .max }
        let requests = (records + recordsPerRequest - 1) / recordsPerRequest
        return requests / producers + (producer < requests % producers ? 1 : 0)
    }
}
