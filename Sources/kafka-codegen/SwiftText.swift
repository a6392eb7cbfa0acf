import Foundation

/// Lines of Swift with indentation.
struct SwiftText {
    private(set) var text = ""
    private var depth = 0

    mutating func line(_ line: String = "") {
        text += line.isEmpty ? "\n" : String(repeating: "    ", count: depth) + line + "\n"
    }

    mutating func block(_ head: String, _ body: (inout SwiftText) -> Void) {
        line(head + " {")
        depth += 1
        body(&self)
        depth -= 1
        line("}")
    }

    /// `if condition { … }`, or the body alone when the condition is always true.
    mutating func when(_ condition: String?, _ body: (inout SwiftText) -> Void) {
        guard let condition else { return body(&self) }
        block("if \(condition)", body)
    }
}

enum SwiftName {
    private static let keywords: Set<String> = [
        "protocol", "default", "switch", "case", "in", "is", "as", "operator", "extension", "class",
        "struct", "enum", "func", "var", "let", "self", "init", "internal", "public", "private",
        "where", "for", "while", "return", "throw", "true", "false", "nil", "repeat", "import",
    ]

    static func property(_ name: String) -> String {
        let lowered = name.prefix(1).lowercased() + name.dropFirst()
        return keywords.contains(lowered) ? "`\(lowered)`" : lowered
    }
}

extension Versions {
    /// The condition under which a version of `outer` is in this range; `nil` when it always is.
    func condition(within outer: Versions) -> String? {
        if covers(outer) { return nil }
        let clipped = clipped(to: outer)
        if clipped.isEmpty { return "false" }
        if clipped.low == clipped.high { return "version == \(clipped.low)" }
        if clipped.high >= outer.high { return "version >= \(clipped.low)" }
        if clipped.low <= outer.low { return "version <= \(clipped.high)" }
        return "version >= \(clipped.low) && version <= \(clipped.high)"
    }
}
