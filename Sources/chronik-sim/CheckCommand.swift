import KafkaHistory

/// `chronik-sim check`: whether Chronik may have a history.
enum CheckCommand {
    static func run(path: String) throws(SimError) -> Bool {
        let text = try Input.read(path: path)
        let events: [HistoryEvent]
        do throws(MalformedHistory) {
            events = try HistoryReading.events(of: text)
        } catch {
            throw .malformed(path: path, line: error.line, reason: error.reason)
        }
        let violations = HistoryChecker.check(events)
        for violation in violations { Output.write("\(violation)\n") }
        let records = HistoryChecker.records(events)
        Output.write(
            "\(events.count) events, \(records) records, \(violations.count) violations\n"
        )
        return violations.isEmpty
    }
}
