import KafkaProtocol

/// What groups committed: a register for each partition, written and read by whoever is a member.
///
/// A read may give any write that had begun before it ended, unless another one was acknowledged
/// that began after that write had ended, and before the read began.
struct CommitChecks {
    private struct Register: Hashable {
        let group: String
        let place: TopicPartition
    }

    private struct Writer: Hashable {
        let process: String
        let register: Register
    }

    /// Times are places in the history.
    private struct Write {
        let offset: Int64
        let began: Int
        var ended = Int.max
        var isAcknowledged = false
    }

    private struct Question: Hashable {
        let process: String
        let group: String
    }

    private var writes: [Register: [Write]] = [:]
    private var underWay: [Writer: Int] = [:]
    private var asked: [Question: Int] = [:]

    static func check(
        _ events: [HistoryEvent],
        _ violate: (HistoryViolation.Rule, String) -> Void
    ) {
        var checks = CommitChecks()
        for (now, event) in events.enumerated() {
            switch event.what {
            case .commit(let phase, let process, let group, let place, let offset):
                let register = Register(group: group, place: place)
                checks.take(phase, Writer(process: process, register: register), offset, now)
            case .asksCommitted(let process, let group):
                checks.asked[Question(process: process, group: group)] = now
            case .committed(let process, let group, let place, let offset):
                let began = checks.asked[Question(process: process, group: group)] ?? now
                let register = Register(group: group, place: place)
                guard let possible = checks.possible(register, since: began) else { continue }
                if !possible.contains(offset) {
                    violate(
                        .committedOffsetLost,
                        "group \(group) is at \(offset) of \(place), expected one of"
                            + " \(possible.sorted())"
                    )
                }
            default: continue
            }
        }
    }

    private mutating func take(
        _ phase: HistoryEvent.Phase,
        _ writer: Writer,
        _ offset: Int64,
        _ now: Int
    ) {
        let register = writer.register
        if phase == .invoke {
            underWay[writer] = writes[register, default: []].count
            writes[register, default: []].append(Write(offset: offset, began: now))
            return
        }
        let index: Int
        if let begun = underWay.removeValue(forKey: writer) {
            index = begun
        } else {
            // A history that only says how commits ended.
            index = writes[register, default: []].count
            writes[register, default: []].append(Write(offset: offset, began: now))
        }
        switch phase {
        case .ok:
            writes[register]?[index].ended = now
            writes[register]?[index].isAcknowledged = true
        case .fail: writes[register]?[index] = Write(offset: .min, began: .max, ended: .max)
        case .unknown, .invoke: break
        }
    }

    /// What a read that began then, and ends now, may give; `nil` when nothing was ever written.
    private func possible(_ register: Register, since began: Int) -> Set<Int64>? {
        guard let all = writes[register] else { return nil }
        let settled = all.filter { $0.isAcknowledged && $0.ended < began }
        let newest = settled.map(\.began).max()
        var possible = Set(
            all.filter { write in
                write.began != .max && newest.map { write.ended >= $0 } ?? true
            }.map(\.offset)
        )
        if newest == nil { possible.insert(-1) }
        return possible
    }
}
