import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Testing

/// A coordinator with its clock, its log and its clients' mailboxes.
final class Coordinator {
    let settings: GroupSettings
    private(set) var shard: GroupCoordinatorShard
    /// Milliseconds since the machine started.
    var now: Int64 = 1_000
    /// Milliseconds since 1970: another clock altogether.
    var wall: Int64 { 1_700_000_000_000 + now }
    /// Writes are committed as soon as they are asked for; otherwise by ``commit(code:)``.
    var commitsAtOnce = true
    private(set) var log: [CoordinatorRecord] = []
    private(set) var isLeading = true
    private(set) var underWay: [GroupEffects.Write] = []
    private var replies: [ReplyToken: GroupReply] = [:]
    private var unanswered: Set<ReplyToken> = []
    private var nextToken: UInt64 = 1
    private var nextSuffix = 1

    /// Groups begin without a delay unless a test is about it.
    init(delay: Int64 = 0, _ change: (inout GroupSettings) -> Void = { _ in }) {
        var settings = GroupSettings()
        settings.initialRebalanceDelay = delay
        change(&settings)
        self.settings = settings
        shard = GroupCoordinatorShard(settings: settings, wallMilliseconds: { 0 }) { "" }
        shard = makeShard()
    }

    private func makeShard() -> GroupCoordinatorShard {
        GroupCoordinatorShard(settings: settings, wallMilliseconds: { [unowned self] in wall }) {
            [unowned self] in
            defer { nextSuffix += 1 }
            return "\(nextSuffix)"
        }
    }

    // MARK: Requests

    @discardableResult
    func perform(_ body: (GroupCoordinatorShard, ReplyToken) -> GroupEffects) -> ReplyToken {
        let token = ReplyToken(nextToken)
        nextToken += 1
        unanswered.insert(token)
        take(body(shard, token))
        return token
    }

    func take(_ effects: GroupEffects) {
        for (token, reply) in effects.replies {
            #expect(replies[token] == nil, "\(token) was answered twice")
            replies[token] = reply
            unanswered.remove(token)
        }
        underWay += effects.writes
        if commitsAtOnce { commit() }
    }

    /// Writes under way reach the log and are applied, all of them before the first is reported.
    func commit() {
        let writes = underWay
        underWay = []
        for record in writes.flatMap(\.records) {
            log.append(record)
            shard.replay(key: record.key, value: record.value, isLoading: !isLeading)
        }
        for write in writes { take(shard.appendFinished(write.id, .none, now: now)) }
    }

    func fail(_ code: ErrorCode) {
        let writes = underWay
        underWay = []
        for write in writes { take(shard.appendFinished(write.id, code, now: now)) }
    }

    /// Lets time pass, in small steps, as the node does.
    func wait(_ milliseconds: Int64) {
        let end = now + milliseconds
        while now < end {
            now = min(end, now + 50)
            if isLeading { take(shard.expire(now: now)) }
        }
    }

    /// Lets time pass without anybody looking.
    func pass(_ milliseconds: Int64) { now += milliseconds }

    /// What another node makes of the log.
    func replayed() -> GroupCoordinatorShard {
        let other = makeShard()
        for record in log {
            other.replay(key: record.key, value: record.value, isLoading: true)
        }
        return other
    }

    /// The node restarts; ``lead()`` when it is to coordinate again.
    func restart() {
        underWay = []
        isLeading = false
        shard = replayed()
    }

    func lead() {
        isLeading = true
        shard.lead(now: now)
    }

    func loseLead() {
        isLeading = false
        take(shard.unload())
    }

    /// Takes in what another coordinator has written.
    func follow(_ records: [CoordinatorRecord]) {
        for record in records {
            log.append(record)
            shard.replay(key: record.key, value: record.value, isLoading: true)
        }
    }

    // MARK: Replies

    func isWaiting(_ token: ReplyToken) -> Bool { unanswered.contains(token) }

    func reply(_ token: ReplyToken, _ place: SourceLocation) throws -> GroupReply {
        try #require(replies[token], "\(token) is not answered", sourceLocation: place)
    }

    func joined(
        _ token: ReplyToken,
        _ place: SourceLocation = #_sourceLocation
    ) throws -> JoinGroupResponse {
        guard case .join(let response) = try reply(token, place) else { throw WrongReply() }
        return response
    }

    func synced(
        _ token: ReplyToken,
        _ place: SourceLocation = #_sourceLocation
    ) throws -> SyncGroupResponse {
        guard case .sync(let response) = try reply(token, place) else { throw WrongReply() }
        return response
    }

    struct WrongReply: Error {}
}

extension JoinGroupResponse {
    var code: ErrorCode? { ErrorCode(rawValue: errorCode) }
}

extension SyncGroupResponse {
    var code: ErrorCode? { ErrorCode(rawValue: errorCode) }
    var text: String { String(decoding: assignment.array, as: UTF8.self) }
}
