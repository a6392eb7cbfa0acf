import Foundation
import Testing

@testable import chronik_sim

/// `chronik-sim raft` from a file to lines of JSON.
@Suite struct ScriptProgramTests {
    private func run(_ script: String) throws -> [[String: Any]] {
        let path = FileManager.default.temporaryDirectory
            .appendingPathComponent("\(UUID().uuidString).txt").path
        try script.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        var text = ""
        try ScriptRun.run(path: path) { text += $0 }
        return try text.split(separator: "\n").map { line in
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8))
            return try #require(object as? [String: Any])
        }
    }

    private func nodes(_ state: [String: Any]) -> [[String: Any]] {
        state["Nodes"] as? [[String: Any]] ?? []
    }

    private func error(_ script: String) -> SimError? {
        do {
            _ = try run(script)
            return nil
        } catch {
            return error as? SimError
        }
    }

    @Test func `every directive is followed by the whole state`() throws {
        let states = try run(
            """
            # Three replicas elect one of them.
            add-nodes 3 voters=(1,2,3) index=10

            campaign 1
            ----
            whatever somebody expected here

            stabilize

            propose 1 hello

            stabilize 1
            """
        )
        #expect(
            states.map { $0["Cmd"] as? String } == [
                "add-nodes", "campaign", "stabilize", "propose", "stabilize",
            ]
        )
        #expect(
            nodes(states[2]).map { $0["Role"] as? String } == ["Leader", "Follower", "Follower"]
        )
        #expect(nodes(states[2]).allSatisfy { $0["Commit"] as? Int == 11 })
        let network = states[4]["Net"] as? [[String: Any]] ?? []
        #expect(network.map { $0["Type"] as? String } == ["MsgApp", "MsgApp"])
        let stable = nodes(states[4])[0]["Stable"] as? [[String: Any]] ?? []
        #expect(stable.last?["d"] as? String == "68656c6c6f")
    }

    @Test func `a change of membership is its input`() throws {
        let states = try run(
            """
            add-nodes 3 voters=(1) index=2

            campaign 1

            stabilize

            propose-conf-change 1
            v2 v3
            ----
            ok

            stabilize 1 2 3
            """
        )
        #expect(nodes(states[4])[0]["Voters"] as? String == "(1 2 3)")
        #expect(nodes(states[4])[2]["Commit"] as? Int == nodes(states[4])[0]["Commit"] as? Int)
    }

    @Test(arguments: [
        ("add-nodes 3 voters=(1,2,3) index=10\ncampaign 1", 2),
        ("add-nodes", 1),
        ("add-nodes 1 voters=(x) index=1", 1),
        ("add-nodes 1 voters=(1) learners=(1) index=1", 1),
        ("\n\nlaunch 1", 3),
        ("add-nodes 1 voters=(1) index=1\n\ncampaign 2", 3),
        ("add-nodes 1 voters=(1) index=1\n\ncompact 1 9", 3),
        ("add-nodes 1 voters=(1) index=1\n\npropose-conf-change 1\nx2", 3),
        ("campaign (1", 1),
    ])
    func `a malformed script is refused with its line`(script: String, line: Int) {
        guard case .malformed(_, let number, _) = error(script) else {
            Issue.record("accepted: \(script)")
            return
        }
        #expect(number == line)
        #expect(error(script)?.exitCode == 65)
    }

    @Test func `a file that is not there is another matter`() {
        #expect(throws: SimError.self) { try ScriptRun.run(path: "/nowhere/at/all") { _ in } }
        #expect(SimError.unreadable(path: "x", reason: "y").exitCode == 66)
    }

    @Test(arguments: [[], ["raft"], ["raft", "a", "b"], ["raft", "--fast"], ["dance"]])
    func `a wrong command line is refused`(arguments: [String]) {
        do throws(SimError) {
            _ = try SimCommandLine.parse(arguments)
            Issue.record("accepted: \(arguments)")
        } catch {
            #expect(error.exitCode == 64)
        }
    }
}
