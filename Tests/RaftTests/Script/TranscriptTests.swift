import Foundation
import RaftScript
import Testing

/// Transcripts of a trusted implementation: no part of the project, and not needed to build it.
///
/// They lie in the folder that RAFT_TRANSCRIPTS names, else in `shared/raft-transcripts` beside the
/// package; without them these comparisons are skipped.
enum Transcripts {
    static let folder: URL? = {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<4 { root.deleteLastPathComponent() }
        let named = ProcessInfo.processInfo.environment["RAFT_TRANSCRIPTS"]
        let folder =
            named.map { URL(fileURLWithPath: $0) }
            ?? root.appendingPathComponent("../shared/raft-transcripts").standardizedFileURL
        return FileManager.default.fileExists(atPath: folder.path) ? folder : nil
    }()

    static func text(_ path: String) throws -> String {
        let folder = try #require(folder)
        return try String(contentsOf: folder.appendingPathComponent(path), encoding: .utf8)
    }

    typealias State = [String: Any]

    static func states() throws -> [String: [State]] {
        var byFile: [String: [State]] = [:]
        for line in try text("states.jsonl").split(separator: "\n") {
            let state = try parse(String(line))
            byFile[try #require(state["File"] as? String), default: []].append(state)
        }
        return byFile
    }

    static func parse(_ line: String) throws -> State {
        let value = try JSONSerialization.jsonObject(with: Data(line.utf8))
        return try #require(value as? State)
    }
}

/// What one script's run agrees with, and the first few differences.
struct Agreement {
    var quiescent = 0
    var quiescentEqual = 0
    var inFlight = 0
    var inFlightEqual = 0
    var exact = 0
    var states = 0
    var differences: [String] = []

    mutating func compare(_ mine: Transcripts.State, _ theirs: Transcripts.State) {
        states += 1
        let position = theirs["Pos"] as? String ?? "?"
        if NSDictionary(dictionary: mine).isEqual(NSDictionary(dictionary: theirs)) { exact += 1 }
        let theirNodes = theirs["Nodes"] as? [Transcripts.State] ?? []
        let myNodes = mine["Nodes"] as? [Transcripts.State] ?? []
        if isQuiescent(theirs, theirNodes) {
            quiescent += 1
            let different = tierA(myNodes, theirNodes)
            if different.isEmpty { quiescentEqual += 1 } else { note("A", position, different) }
        }
        if theirNodes.count > 1 {
            inFlight += 1
            let different = tierB(mine, theirs)
            if different.isEmpty { inFlightEqual += 1 } else { note("B", position, different) }
        }
    }

    private mutating func note(_ tier: String, _ position: String, _ what: [String]) {
        differences.append("\(tier) \(position): \(what.joined(separator: "; "))")
    }

    private func isQuiescent(_ state: Transcripts.State, _ nodes: [Transcripts.State]) -> Bool {
        (state["Net"] as? [Any] ?? []).isEmpty
            && !nodes.contains { $0["HasReady"] as? Bool ?? false }
    }

    private func tierA(_ mine: [Transcripts.State], _ theirs: [Transcripts.State]) -> [String] {
        guard mine.count == theirs.count else { return ["\(mine.count) nodes"] }
        let keys = [
            "Role", "Term", "Vote", "Lead", "Commit", "Applied", "First", "Last", "Stable",
            "Voters", "VotersOut", "Learners",
        ]
        var different: [String] = []
        for (mine, theirs) in zip(mine, theirs) {
            for key in keys {
                let left = text(mine[key])
                let right = text(theirs[key])
                if left != right {
                    different.append("node \(theirs["ID"] ?? "?") \(key): \(left) for \(right)")
                }
            }
        }
        return different
    }

    private func text(_ value: Any?) -> String {
        guard let list = value as? [Transcripts.State] else { return "\(value ?? "none")" }
        return list.map { entry in
            entry.keys.sorted().map { "\($0) \(entry[$0] ?? "")" }.joined(separator: " ")
        }.joined(separator: ", ")
    }

    private func tierB(_ mine: Transcripts.State, _ theirs: Transcripts.State) -> [String] {
        let left = inFlightKeys(mine)
        let right = inFlightKeys(theirs)
        if left == right { return [] }
        return [
            "too much: \(subtract(left, right))", "missing: \(subtract(right, left))",
        ]
    }

    private func subtract(_ left: [String], _ right: [String]) -> [String] {
        var right = right
        return left.filter { key in
            guard let place = right.firstIndex(of: key) else { return true }
            right.remove(at: place)
            return false
        }
    }

    private func inFlightKeys(_ state: Transcripts.State) -> [String] {
        (state["Net"] as? [Transcripts.State] ?? []).map { message in
            let keys = ["Type", "From", "To", "Term", "LogTerm", "Index", "Reject", "Snap"]
            let entries = message["Ents"] as? [Any] ?? []
            let isFree = (message["Type"] as? String ?? "").hasSuffix("Resp")
            let commit = isFree ? "" : " Commit \(message["Commit"] ?? 0)"
            return keys.map { "\(message[$0] ?? 0)" }.joined(separator: " ")
                + commit + " entries \(entries.count)"
        }.sorted()
    }

    static func + (left: Agreement, right: Agreement) -> Agreement {
        var sum = left
        sum.quiescent += right.quiescent
        sum.quiescentEqual += right.quiescentEqual
        sum.inFlight += right.inFlight
        sum.inFlightEqual += right.inFlightEqual
        sum.exact += right.exact
        sum.states += right.states
        sum.differences += right.differences
        return sum
    }
}

@Suite(.enabled(if: Transcripts.folder != nil, "no transcripts are there"))
struct TranscriptTests {
    @Test func `every state agrees with the trusted implementation's`() throws {
        let states = try Transcripts.states()
        var total = Agreement()
        for file in states.keys.sorted() {
            total = total + (try run(file, against: states[file] ?? []))
        }
        print(
            """
            transcripts: A \(total.quiescentEqual)/\(total.quiescent), \
            B \(total.inFlightEqual)/\(total.inFlight), whole \(total.exact)/\(total.states)
            """
        )
        #expect(total.differences == [])
    }

    func run(_ file: String, against states: [Transcripts.State]) throws -> Agreement {
        let script = try Script(parsing: Transcripts.text("scripts/\(file)"))
        #expect(script.directives.count == states.count, "\(file)")
        var cluster = ScriptCluster()
        var agreement = Agreement()
        for (directive, theirs) in zip(script.directives, states) {
            try cluster.run(directive)
            let mine = try Transcripts.parse(cluster.state(after: directive, file: file))
            #expect(mine["Pos"] as? String == theirs["Pos"] as? String)
            #expect(mine["Cmd"] as? String == theirs["Cmd"] as? String)
            agreement.compare(mine, theirs)
        }
        return agreement
    }
}
