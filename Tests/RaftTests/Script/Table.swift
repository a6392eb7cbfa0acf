/// A table of inputs and outputs, in the same form as a script.
struct Table {
    struct Row {
        var line: Int
        var command: String
        var arguments: [(key: String, values: [String])]
        var input: String
        var output: String

        func values(_ key: String) -> [String]? { arguments.first { $0.key == key }?.values }
    }

    var rows: [Row] = []

    init(parsing text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        var place = 0
        while place < lines.count {
            let line = lines[place]
            place += 1
            if line.isEmpty || line.hasPrefix("#") { continue }
            var row = Row(line: place, command: "", arguments: [], input: "", output: "")
            // Spaces within parentheses do not part words.
            var words = [""]
            var depth = 0
            for character in line {
                if character == "(" { depth += 1 }
                if character == ")" { depth -= 1 }
                if character == " " && depth == 0 {
                    words.append("")
                } else if character != " " {
                    words[words.count - 1].append(character)
                }
            }
            row.command = words[0]
            row.arguments = words.dropFirst().filter { !$0.isEmpty }.map { word in
                let halves = word.split(separator: "=", maxSplits: 1)
                let values = (halves.count > 1 ? halves[1] : "")
                    .filter { $0 != "(" && $0 != ")" }.split(separator: ",").map(String.init)
                return (String(halves[0]), values)
            }
            while place < lines.count, lines[place] != "----" {
                row.input += lines[place] + " "
                place += 1
            }
            place += 1
            while place < lines.count, !lines[place].isEmpty {
                row.output += lines[place] + "\n"
                place += 1
            }
            rows.append(row)
        }
    }
}
