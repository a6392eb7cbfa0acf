import Foundation
import Testing

/// Code in the documentation is code that is compiled and run elsewhere.
@Suite struct DocumentationTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private static func files(_ folders: [String], _ suffix: String) throws -> [URL] {
        try folders.flatMap { folder in
            let base = root.appendingPathComponent(folder)
            return try FileManager.default.subpathsOfDirectory(atPath: base.path)
                .filter { $0.hasSuffix(suffix) && !$0.contains(".build") }.sorted()
                .map { base.appendingPathComponent($0) }
        }
    }

    /// Lines without indentation, and without those that are empty.
    private static func lines(_ text: Substring) -> [String] {
        text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { !$0.isEmpty }
    }

    private static func snippets(_ text: String) -> [[String]] {
        text.components(separatedBy: "```swift\n").dropFirst().map { block in
            lines(block[..<(block.range(of: "```")?.lowerBound ?? block.endIndex)])
        }
    }

    private static func contains(_ source: [String], _ snippet: [String]) -> Bool {
        guard let first = snippet.first, source.count >= snippet.count else { return false }
        return (0...source.count - snippet.count).contains { place in
            source[place] == first
                && source[place..<place + snippet.count].elementsEqual(snippet)
        }
    }

    @Test func `every piece of code in it is compiled`() throws {
        let folders = ["Examples", "Tests/RaftHostTests", "Tests/EmbeddingProbe"]
        let sources = try Self.files(folders, ".swift").map {
            Self.lines(try String(contentsOf: $0, encoding: .utf8)[...])
        }
        var pages = try Self.files(["Sources/Raft", "Sources/RaftRuntime"], ".md")
        pages.append(Self.root.appendingPathComponent("docs/raft-library.md"))
        var count = 0
        for page in pages {
            for snippet in Self.snippets(try String(contentsOf: page, encoding: .utf8)) {
                count += 1
                #expect(
                    sources.contains { Self.contains($0, snippet) },
                    "\(page.lastPathComponent): \(snippet.first ?? "an empty snippet")"
                )
            }
        }
        #expect(count > 5)
    }

    @Test func `a piece that is not is noticed`() {
        #expect(!Self.contains(["a", "b", "c"], ["b", "d"]))
        #expect(Self.contains(["a", "b", "c"], ["b", "c"]))
        #expect(Self.snippets("x\n```swift\n  a\n\n b\n```\n") == [["a", "b"]])
    }
}
