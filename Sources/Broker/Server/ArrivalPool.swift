import Platform
import Synchronization

/// Counts what has arrived of requests that are not whole yet, and limits it.
///
/// At the limit only one request goes on, that with the least to come: connections that hold a part
/// each never wait for one another. One that stalls meanwhile is closed by its reader.
final class ArrivalPool: Sendable {
    private struct Waiting {
        let arrival: ObjectIdentifier
        let bytesToCome: Int
        let signal: FetchSignal
    }

    private struct Arrivals {
        var bytes = 0
        /// Who may go on although the account is full.
        var privileged: ObjectIdentifier?
        var waiting: [Waiting] = []
    }

    private let limit: Int
    private let arrivals = Mutex(Arrivals())

    init(limit: Int) { self.limit = limit }

    /// A large request on its way in, confined to the loop of its connection.
    final class Arrival {
        let length: Int
        fileprivate(set) var bytes = 0
        /// It goes on although there is no room.
        fileprivate(set) var isPrivileged = false

        init(length: Int) { self.length = length }
    }

    private static let leastRead = 64 << 10

    /// Counts what has arrived of a request and returns, once more of it may be read, how much.
    func received(_ bytes: Int, of arrival: Arrival) async -> Int {
        arrival.bytes += bytes
        let (room, signal): (Int, FetchSignal?) = arrivals.withLock { arrivals in
            arrivals.bytes += bytes
            let room = limit - arrivals.bytes
            guard room <= 0 else { return (room, nil) }
            let identity = ObjectIdentifier(arrival)
            if arrivals.privileged == nil { arrivals.privileged = identity }
            if arrivals.privileged == identity { return (room, nil) }
            let signal = FetchSignal()
            arrivals.waiting.append(
                Waiting(
                    arrival: identity,
                    bytesToCome: arrival.length - arrival.bytes,
                    signal: signal
                )
            )
            return (room, signal)
        }
        await signal?.wait()
        arrival.isPrivileged = room <= 0
        // A share of the room only, for others may be reading too.
        return max(Self.leastRead, room / 8)
    }

    /// Whether others wait until this request is whole.
    func isWaitedFor(_ arrival: Arrival) -> Bool {
        arrivals.withLock {
            $0.privileged == ObjectIdentifier(arrival) && !$0.waiting.isEmpty
        }
    }

    /// The request is whole, or its connection gone.
    func end(_ arrival: Arrival) {
        let identity = ObjectIdentifier(arrival)
        let ready: [FetchSignal] = arrivals.withLock { arrivals in
            arrivals.bytes -= arrival.bytes
            if arrivals.privileged == identity { arrivals.privileged = nil }
            guard arrivals.bytes >= limit else {
                defer { arrivals.waiting = [] }
                return arrivals.waiting.map(\.signal)
            }
            guard arrivals.privileged == nil,
                let next = arrivals.waiting.indices.min(by: {
                    arrivals.waiting[$0].bytesToCome < arrivals.waiting[$1].bytesToCome
                })
            else { return [] }
            let chosen = arrivals.waiting.remove(at: next)
            arrivals.privileged = chosen.arrival
            return [chosen.signal]
        }
        arrival.bytes = 0
        for signal in ready { signal.fire() }
    }
}
