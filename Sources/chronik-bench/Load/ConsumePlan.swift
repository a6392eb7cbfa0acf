import Platform
import Synchronization

/// What all consumers together are to read.
struct ConsumePlan: Sendable {
    enum Place: Int64, Sendable {
        case latest = -1
        case earliest = -2
    }

    let layout: TopicLayout
    let consumers: Int
    let from: Place
    let maxBytes: Int
    let durationNanoseconds: Int64?
    /// Whether it ends where the partitions ended when it began.
    let stopsAtEnd: Bool
    let measuresEndToEnd: Bool
    let progress: ConsumeProgress

    /// The broker and the partitions of one consumer.
    ///
    /// Consumers of a broker share its partitions; those there are too many of read again what
    /// others read.
    func assignment(of consumer: Int) -> (SocketAddress, [Int32]) {
        let leader = layout.leaders[consumer % layout.leaders.count]
        let sharing = (consumers - consumer % layout.leaders.count - 1) / layout.leaders.count + 1
        let place = consumer / layout.leaders.count
        if place >= leader.partitions.count {
            return (leader.address, [leader.partitions[place % leader.partitions.count]])
        }
        let mine = leader.partitions.enumerated().filter { $0.offset % sharing == place }
        return (leader.address, mine.map(\.element))
    }
}

/// How much of the wanted number of records has been read, by consumers of all loops.
final class ConsumeProgress: Sendable {
    private let wanted: Int
    private let count = Atomic(0)

    init(wanted: Int?) { self.wanted = wanted ?? .max }

    var isUnfinished: Bool { count.load(ordering: .relaxed) < wanted }

    func consumed(_ records: Int) { count.add(records, ordering: .relaxed) }
}
