/// Whether a loop with nothing to do looks for work again at once instead of going to sleep.
///
/// A loop whose last wait was short expects the next to be short too, the answer to what it has
/// just sent, and looks on for as long as such a wait may last. One that waited longer sleeps.
struct ShortWaits {
    /// The longest wait that counts as short, and that a loop stays awake for: about what a client
    /// or a follower on a fast network and disk takes to answer.
    static let nanoseconds: Int64 = 60_000

    /// When the loop ran out of work; nil while it has some.
    private var since: Int64?
    private var last = Int64.max

    /// The loop has nothing to do at `now`: whether it should look again.
    mutating func looksAgain(at now: Int64) -> Bool {
        let began = since ?? now
        since = began
        return last < Self.nanoseconds && now - began < Self.nanoseconds
    }

    /// Whether the loop has nothing to do.
    var isWaiting: Bool { since != nil }

    /// The loop has work again.
    mutating func ended(at now: Int64) {
        guard let began = since else { return }
        last = now - began
        since = nil
    }
}
