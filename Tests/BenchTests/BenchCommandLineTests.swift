import Testing

@testable import chronik_bench

@Suite struct `The command line of the benchmark` {
    private func settings(_ arguments: String...) throws -> BenchSettings {
        guard case .run(let settings) = try BenchCommandLine.parse(arguments) else {
            throw BenchError.usage("help")
        }
        return settings
    }

    private func problem(_ arguments: String...) -> String? {
        do {
            _ = try BenchCommandLine.parse(arguments)
            return nil
        } catch {
            #expect(error.exitCode == 64)
            return error.description
        }
    }

    @Test func `options are read with a space or an equals sign`() throws {
        let read = try settings(
            "produce",
            "--bootstrap=h:1",
            "--producers",
            "32",
            "--in-flight",
            "1",
            "--records-per-request",
            "1",
            "--acks",
            "1",
            "--rate=1e5",
            "--duration",
            "2m",
            "--record-bytes",
            "1KiB",
            "--json"
        )
        #expect("\(read.bootstrap)" == "h:1")
        #expect(read.producers == 32 && read.inFlight == 1)
        #expect(read.effectiveRecordsPerRequest == 1)
        #expect(read.acks == 1)
        #expect(read.rate == 100_000)
        #expect(read.effectiveDuration == 120_000_000_000)
        #expect(read.recordBytes == 1024)
        #expect(read.isJSON)
    }

    @Test func `metadata is written by clients of a number of their own`() throws {
        let read = try settings(
            "metadata",
            "--clients",
            "8",
            "--records",
            "10",
            "--replication-factor",
            "3"
        )
        #expect(read.mode == .metadata && read.clients == 8 && read.records == 10)
        #expect(read.replicationFactor == 3 && read.partitions == 1)
        #expect(problem("metadata", "--clients", "0")?.contains("from 1 to 10000") == true)
        #expect(problem("produce", "--clients", "8")?.contains("not for produce") == true)
        #expect(problem("metadata", "--acks", "1")?.contains("not for metadata") == true)
    }

    @Test func `the wire between nodes is measured without a broker`() throws {
        let raft = try settings("raft", "--groups", "100", "--idle", "--duration", "3", "--quiet")
        #expect(raft.groups == 100 && raft.isIdleWanted && !raft.isActiveWanted && raft.isQuiet)
        #expect(raft.effectiveDuration == 3_000_000_000)
        #expect(problem("raft", "--groups", "0")?.contains("from 1 to 100000") == true)
        let read = try settings("raft-wire", "--json")
        #expect(read.mode == .raftWire && read.isJSON)
        #expect(problem("raft-wire", "--topic", "t")?.contains("not for raft-wire") == true)
    }

    @Test func `a bare duration is seconds, and ten if nothing says when to stop`() throws {
        #expect(try settings("produce", "--duration", "3").effectiveDuration == 3_000_000_000)
        #expect(try settings("produce").effectiveDuration == 10_000_000_000)
        #expect(try settings("produce", "--records", "5").effectiveDuration == nil)
        #expect(try settings("consume").effectiveDuration == nil)
    }

    @Test func `a batch holds as many records as its size allows`() throws {
        #expect(
            try settings("produce", "--batch-bytes", "16KiB").effectiveRecordsPerRequest == 150
        )
        #expect(
            try settings("produce", "--batch-bytes", "10", "--record-bytes", "1MiB")
                .effectiveRecordsPerRequest == 1
        )
    }

    @Test func `what is wrong is said`() {
        #expect(problem("produse") == "unknown command produse; did you mean produce?")
        #expect(
            problem("produce", "--produces", "1")
                == "unknown flag --produces; did you mean --producers?"
        )
        #expect(
            problem("consume", "--acks", "1")
                == "--acks is for produce, round-trip, not for consume"
        )
        #expect(problem("produce", "--acks", "2") == "--acks is '2'; expected 0, 1 or all")
        #expect(problem("produce", "--acks") == "--acks needs a value: --acks 0|1|all")
        #expect(problem("produce", "--json=yes") == "--json takes no value")
        #expect(problem("produce", "--compression", "lz4")?.contains("no other codec") == true)
        #expect(problem("produce", "--idempotent", "--in-flight", "6") != nil)
        #expect(problem("produce", "--idempotent", "--acks", "1") != nil)
        #expect(problem("round-trip", "--record-bytes", "15") != nil)
        #expect(problem() != nil)
    }

    @Test func `help names every option`() throws {
        guard case .help(let text) = try BenchCommandLine.parse(["produce", "--help"]) else {
            throw BenchError.usage("no help")
        }
        for option in BenchOption.table { #expect(text.contains("  \(option.name) ")) }
    }
}

@Suite struct `Numbers as text` {
    @Test(arguments: [
        (0.0, "0.000"), (1.0005, "1.001"), (-0.25, "-0.250"), (123_456.789, "123456.789"),
        (0.0004, "0.000"),
    ])
    func `decimals are rounded`(_ value: Double, _ text: String) {
        #expect(Decimals.text(value, 3) == text)
    }

    @Test func `digits are grouped`() {
        #expect(Decimals.grouped(0) == "0")
        #expect(Decimals.grouped(1234567) == "1 234 567")
        #expect(Decimals.grouped(-1000) == "-1 000")
    }

    @Test func `an object is JSON`() {
        let value = JSONValue.object([
            ("a", .text("x\"y")), ("b", .integer(-1)), ("c", .number(.infinity)),
            ("d", .object([("e", .boolean(true))])),
        ])
        #expect(value.rendered == #"{"a":"x\"y","b":-1,"c":null,"d":{"e":true}}"#)
    }
}
