import Testing

@testable import Configuration

@Suite struct `A configuration file` {
    private func entries(_ text: String) throws -> [TOMLFile.Entry] {
        try TOMLFile(text, path: "test.toml").entries
    }

    @Test func `tables, dotted keys and quoted keys name the same setting`() throws {
        let text = """
            num.partitions = 3
            "data.dir" = "/a"
            [wal]
            total.bytes = "2GiB"
            profile = 'high'
            """
        #expect(
            try entries(text) == [
                .init(key: "num.partitions", value: "3", line: 1),
                .init(key: "data.dir", value: "/a", line: 2),
                .init(key: "wal.total.bytes", value: "2GiB", line: 4),
                .init(key: "wal.profile", value: "high", line: 5),
            ]
        )
    }

    @Test func `arrays and arrays of tables are numbered`() throws {
        let text = """
            seeds = ["a", "b"]
            [[nodes]]
            id = 1
            [[nodes]]
            id = 2
            addr = "h:1"
            """
        #expect(
            try entries(text).map(\.key) == [
                "seeds[0]", "seeds[1]", "nodes[0].id", "nodes[1].id", "nodes[1].addr",
            ]
        )
    }

    @Test func `every kind of value has its text`() throws {
        let text = """
            a = -7
            b = 1.5
            c = true
            d = 1979-05-27T07:32:00Z
            e = "ü\\n"
            """
        #expect(
            try entries(text).map(\.value) == [
                "-7", "1.5", "true", "1979-05-27T07:32:00Z", "ü\n",
            ]
        )
    }

    @Test func `what is no TOML is refused with its place`() {
        let error = #expect(throws: ConfigurationError.self) {
            _ = try entries("a = 1\nb = \n")
        }
        #expect(error?.message.hasPrefix("test.toml:2:5: not TOML: ") == true)
    }

    @Test func `a key twice is refused`() {
        let error = #expect(throws: ConfigurationError.self) {
            _ = try entries("a = 1\na = 2\n")
        }
        #expect(error?.message.hasPrefix("test.toml:2:") == true)
    }

    @Test(arguments: [
        "", "\u{0}", "[[[[[[[[", "a = \"", "= 3", "a.b.c = {d = [1, [2, {e = 3}]]}", "\u{feff}a=1",
    ])
    func `odd text is read or refused, never fatal`(_ text: String) {
        _ = try? entries(text)
    }

    @Test func `tables nested without end are refused`() {
        let text = "a = " + String(repeating: "[", count: 100_000)
        #expect(throws: ConfigurationError.self) { _ = try entries(text) }
    }

    @Test func `a missing file says so`() {
        let error = #expect(throws: ConfigurationError.self) {
            _ = try TOMLFile.read("/nowhere/chronik.toml")
        }
        #expect(error?.message == "/nowhere/chronik.toml: No such file or directory")
    }
}
