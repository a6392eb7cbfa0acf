import Platform
import Raft
import Testing

@testable import TLS

@Suite(.timeLimit(.minutes(5))) struct `A handshake` {
    let authority: CertificateAuthority

    init() throws { authority = try CertificateAuthority() }

    /// How far both ends come with those certificates.
    private func meet(
        _ one: CredentialFiles,
        _ two: CredentialFiles,
        hosts: [UInt64: String] = [1: "127.0.0.1", 2: "127.0.0.1"],
        _ body: @escaping @Sendable (Pair, NodeTLS) async throws -> Void
    ) async throws {
        let first = try Machine.stage(one, hosts: hosts)
        let second = try Machine.stage(two, hosts: hosts)
        try await Machine.on {
            let pair = try await Pair.connect(first, second)
            defer { pair.close() }
            try await body(pair, second)
        }
    }

    @Test func `two nodes that an authority vouches for talk, both ways`() async throws {
        let one = try authority.issue("one")
        let two = try authority.issue("two")
        try await meet(one, two) { pair, second in
            let caller = try pair.caller.get()
            let called = try await pair.called.get()
            try second.check(called, isOf: ReplicaID(1))
            try await caller.say("ping")
            #expect(try await called.peek() == UInt8(ascii: "p"))
            #expect(try await called.hear(4) == "ping")
            try await called.say("pong")
            #expect(try await caller.hear(4) == "pong")
        }
    }

    @Test func `a certificate of another authority is refused by either side`() async throws {
        let ours = try authority.issue("ours")
        let stranger = try CertificateAuthority()
        let theirs = try stranger.issue("theirs")
        // Trusts ours, shows one of its own.
        let foreign = CredentialFiles(
            certificate: theirs.certificate,
            key: theirs.key,
            authority: ours.authority
        )
        let reason = "unable to get local issuer certificate"
        try await meet(foreign, ours) { pair, _ in
            let caller = try pair.caller.get()
            do {
                _ = try await caller.hear(1)
                Issue.record("the caller is not told")
            } catch NetworkError.refused(_, let said) {
                #expect(said == "TLS: tlsv1 alert unknown ca")
            }
            #expect(await pair.refusal == .untrusted(reason: reason))
        }
        try await meet(ours, foreign) { pair, _ in
            #expect(pair.caller.failure == .untrusted(reason: reason))
            #expect(await pair.refusal == .handshake(reason: "tlsv1 alert unknown ca"))
        }
    }

    @Test func `an expired certificate is refused by either side`() async throws {
        let good = try authority.issue("good")
        let old = try authority.issue("old", expired: true)
        let reason = TLSError.untrusted(reason: "certificate has expired")
        try await meet(old, good) { pair, _ in #expect(await pair.refusal == reason) }
        try await meet(good, old) { pair, _ in #expect(pair.caller.failure == reason) }
    }

    @Test func `a node at the wrong host is refused, and both hosts are named`() async throws {
        let one = try authority.issue("one", for: "DNS:one.example")
        let two = try authority.issue("two", for: "DNS:two.example,IP:10.0.0.2")
        let hosts: [UInt64: String] = [1: "one.example", 2: "two.example", 3: "three.example"]
        try await meet(one, two, hosts: hosts) { pair, second in
            let called = try await pair.called.get()
            try second.check(called, isOf: ReplicaID(1))
            #expect(
                throws: TLSError.wrongName(
                    node: "3",
                    expected: "three.example",
                    presented: ["one.example"]
                )
            ) { try second.check(called, isOf: ReplicaID(3)) }
            #expect(throws: TLSError.unknownNode("4")) {
                try second.check(called, isOf: ReplicaID(4))
            }
        }
        try await meet(one, two, hosts: [1: "one.example", 2: "one.example"]) { pair, _ in
            #expect(
                pair.caller.failure
                    == .wrongName(
                        node: "2",
                        expected: "one.example",
                        presented: ["two.example", "10.0.0.2"]
                    )
            )
        }
    }

    @Test func `a common name counts for nothing`() async throws {
        let one = try authority.issue("one.example", for: "")
        try await meet(one, one, hosts: [2: "one.example"]) { pair, _ in
            #expect(
                pair.caller.failure
                    == .wrongName(node: "2", expected: "one.example", presented: [])
            )
        }
    }

    @Test func `a certificate for servers alone cannot call`() async throws {
        let one = try authority.issue("one", usage: "serverAuth")
        let two = try authority.issue("two")
        try await meet(one, two) { pair, _ in
            guard case .untrusted(let reason) = await pair.refusal else {
                Issue.record("let in")
                return
            }
            #expect(reason.contains("purpose"))
        }
    }
}
