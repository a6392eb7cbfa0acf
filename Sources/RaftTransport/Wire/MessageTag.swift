/// The first byte of a message in a frame: what it says, and which fields repeat those before.
///
/// | bits | meaning |
/// |---|---|
/// | 0–3 | kind, see ``Kind`` |
/// | 4 | other ends than the message before: from and to follow |
/// | 5 | another term than the message before: it follows |
/// | 6–7 | two flags of the kind |
///
/// The ends and the term "before" the first message of a frame are 0.
struct MessageTag {
    /// The numbers are on the wire, with what follows the common fields.
    ///
    /// `n` is a base-128 number, `n~x` the zigzag difference to x in base 128.
    ///
    /// | kind | flag 6 | flag 7 | fields |
    /// |---|---|---|---|
    /// | append | | | previous index n, previous term n, commit n~previous index, count n, entries |
    /// | append response | rejection follows | | index n [index n~index, term n] |
    /// | vote, pre-vote | transfer | | last index n, last term n |
    /// | (pre-)vote response | granted | commit point follows | [index n, term n] |
    /// | heartbeat | quiesce | | commit n, round n |
    /// | heartbeat response | | | round n |
    /// | lost entries | | | last index n |
    /// | snapshot | leaves by itself | | index n, term n, four sets of replicas, payload |
    /// | timeout now | | | |
    /// | transfer leader | | | to n |
    /// | read index | | | context n |
    /// | read index response | | | index n, context n |
    /// | propose | | | count n, each: kind 1 byte, payload |
    ///
    /// A payload is its length n and its bytes. A set of replicas is a count n and the ids in rising
    /// order, each n~the one before, the first n~0.
    enum Kind: UInt8, CaseIterable {
        case append = 0
        case appendResponse = 1
        case vote = 2
        case voteResponse = 3
        case preVote = 4
        case preVoteResponse = 5
        case heartbeat = 6
        case heartbeatResponse = 7
        case lostEntries = 8
        case snapshot = 9
        case timeoutNow = 10
        case transferLeader = 11
        case readIndex = 12
        case readIndexResponse = 13
        case propose = 14
    }

    static let otherEnds: UInt8 = 1 << 4
    static let otherTerm: UInt8 = 1 << 5
    static let flagA: UInt8 = 1 << 6
    static let flagB: UInt8 = 1 << 7
}

/// The first byte of an entry.
///
/// | bits | meaning |
/// |---|---|
/// | 0–3 | kind of the entry |
/// | 6 | another term than the entry before (the first: than the previous term): n follows |
/// | 7 | an index that does not follow the one before: n~the one that would |
///
/// Then the payload.
enum EntryTag {
    static let kindMask: UInt8 = 0x0f
    static let otherTerm: UInt8 = 1 << 6
    static let otherIndex: UInt8 = 1 << 7
}
