/// One step of a script, where it stands, and what is written under it.
package struct Directive: Sendable {
    package struct Argument: Sendable {
        package var key: String
        package var values: [String]

        /// As it is written, lists with a space after each comma.
        package var text: String {
            switch values.count {
            case 0: key
            case 1: "\(key)=\(values[0])"
            default: "\(key)=(\(values.joined(separator: ", ")))"
            }
        }
    }

    package var line: Int
    package var command: String
    package var arguments: [Argument]
    package var input: String

    /// Arguments without a value.
    var words: [String] { arguments.filter(\.values.isEmpty).map(\.key) }

    func values(_ key: String) -> [String]? { arguments.first { $0.key == key }?.values }
}

/// Why a script cannot be run.
package struct ScriptError: Error, Sendable, Equatable {
    package let line: Int
    package let reason: String
}

/// A script: directives, each with its input, a line `----` and text that is passed over.
///
///     # A comment.
///     propose-conf-change 1 transition=explicit
///     v2 v3
///     ----
///     whatever some implementation printed, up to an empty line
///
/// The line `----` and what follows may be left out. A second `----` right below the first makes
/// the text end only at the next such pair.
package struct Script: Sendable {
    package var directives: [Directive] = []

    package init(parsing text: String) throws(ScriptError) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.last == "\r" ? String($0.dropLast()) : String($0) }
        var place = 0
        while place < lines.count {
            let line = lines[place].trimmed
            place += 1
            if line.isEmpty || line.hasPrefix("#") { continue }
            var directive = try Self.parse(line, at: place)
            var input: [String] = []
            while place < lines.count, lines[place] != "----", !lines[place].trimmed.isEmpty {
                input.append(lines[place])
                place += 1
            }
            directive.input = input.joined(separator: "\n")
            directives.append(directive)
            if place < lines.count, lines[place] == "----" {
                place = Self.end(ofOutputAt: place + 1, in: lines)
            }
        }
    }

    private static func end(ofOutputAt start: Int, in lines: [String]) -> Int {
        var place = start
        if place < lines.count, lines[place] == "----" {
            place += 1
            while place + 1 < lines.count, lines[place] != "----" || lines[place + 1] != "----" {
                place += 1
            }
            return min(place + 2, lines.count)
        }
        while place < lines.count, !lines[place].isEmpty { place += 1 }
        return place
    }

    private static func parse(_ line: String, at number: Int) throws(ScriptError) -> Directive {
        var words = try words(of: line, at: number)
        let command = words.removeFirst()
        let arguments = words.map { word in
            guard let equals = word.firstIndex(of: "=") else {
                return Directive.Argument(key: word, values: [])
            }
            var value = word[word.index(after: equals)...]
            if value.hasPrefix("(") && value.hasSuffix(")") { value = value.dropFirst().dropLast() }
            let values = value.split(separator: ",").map { String($0).trimmed }
            return Directive.Argument(key: String(word[..<equals]), values: values)
        }
        return Directive(line: number, command: command, arguments: arguments, input: "")
    }

    /// Words are parted by spaces outside parentheses.
    private static func words(of line: String, at number: Int) throws(ScriptError) -> [String] {
        var words: [String] = []
        var word = ""
        var depth = 0
        for character in line {
            if character == "(" { depth += 1 }
            if character == ")" { depth -= 1 }
            if character == " " && depth == 0 {
                if !word.isEmpty { words.append(word) }
                word = ""
            } else {
                word.append(character)
            }
        }
        guard depth == 0 else { throw ScriptError(line: number, reason: "parentheses in \(line)") }
        if !word.isEmpty { words.append(word) }
        return words
    }
}

extension String {
    var trimmed: String {
        var text = Substring(self)
        while let last = text.last, last.isWhitespace { text.removeLast() }
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        return String(text)
    }
}
