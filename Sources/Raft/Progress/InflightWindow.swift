/// The appends sent to a follower and not yet acknowledged, oldest first, as a ring.
///
/// Limited by their number and by their bytes; the bytes may go over by one message, so that one
/// larger than the limit still gets through.
struct InflightWindow {
    private struct Sent {
        var last: LogIndex
        var bytes: Int
    }

    private let maxMessages: Int
    private let maxBytes: Int
    private var ring: [Sent] = []
    private var head = 0
    private(set) var count = 0
    private(set) var bytes = 0

    init(maxMessages: Int, maxBytes: Int) {
        self.maxMessages = maxMessages
        self.maxBytes = maxBytes
    }

    var isFull: Bool { count >= maxMessages || bytes >= maxBytes }

    mutating func add(_ last: LogIndex, bytes: Int) {
        precondition(!isFull, "\(count) messages of \(self.bytes) bytes in flight already")
        if count == ring.count { grow() }
        ring[(head + count) % ring.count] = Sent(last: last, bytes: bytes)
        count += 1
        self.bytes += bytes
    }

    /// The follower has everything up to an index.
    mutating func free(through index: LogIndex) {
        while count > 0, ring[head].last <= index {
            bytes -= ring[head].bytes
            head = (head + 1) % ring.count
            count -= 1
        }
    }

    mutating func removeAll() {
        head = 0
        count = 0
        bytes = 0
    }

    private mutating func grow() {
        var larger: [Sent] = []
        let capacity = min(max(ring.count * 2, 4), maxMessages)
        larger.reserveCapacity(capacity)
        for place in 0..<count { larger.append(ring[(head + place) % ring.count]) }
        while larger.count < capacity { larger.append(Sent(last: .zero, bytes: 0)) }
        ring = larger
        head = 0
    }
}
