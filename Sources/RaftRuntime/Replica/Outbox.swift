import Raft

/// What a turn has to say to each peer, for all groups of the loop: one frame each.
struct Outbox {
    private struct Letter {
        let peer: ReplicaID
        var messages: [GroupMessage] = []
        var bytes = 0
    }

    private let transport: (any RaftTransport)?
    private let maxFrameBytes: Int
    /// One for each peer there ever was something to say to.
    private var letters: [Letter] = []
    private var hasMail = false

    init(_ transport: (any RaftTransport)?, maxFrameBytes: Int) {
        self.transport = transport
        self.maxFrameBytes = maxFrameBytes
    }

    mutating func post(_ message: Message, of group: UInt64) {
        guard transport != nil else { return }
        let place: Int
        if let known = letters.firstIndex(where: { $0.peer == message.to }) {
            place = known
        } else {
            place = letters.count
            letters.append(Letter(peer: message.to))
        }
        let bytes = message.entryBytes
        if letters[place].bytes + bytes > maxFrameBytes { send(place) }
        letters[place].messages.append(GroupMessage(group: group, message: message))
        letters[place].bytes += bytes
        hasMail = true
    }

    mutating func flush() {
        guard hasMail else { return }
        hasMail = false
        for place in letters.indices { send(place) }
    }

    private mutating func send(_ place: Int) {
        guard !letters[place].messages.isEmpty else { return }
        let messages = letters[place].messages
        letters[place].messages = []
        letters[place].bytes = 0
        transport?.send(.messages(messages), to: letters[place].peer)
    }

    func send(_ frame: PeerFrame, to peer: ReplicaID) { transport?.send(frame, to: peer) }
}

extension Message {
    /// What the entries it carries weigh.
    fileprivate var entryBytes: Int {
        guard case .append(let append) = body else { return 0 }
        return append.entries.reduce(0) { $0 + $1.byteCount }
    }
}
