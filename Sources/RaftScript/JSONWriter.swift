/// Writes JSON in the order it is told.
struct JSONWriter {
    private(set) var text = ""
    private var needsComma = false

    mutating func object(_ body: (inout JSONWriter) -> Void) {
        open("{")
        body(&self)
        close("}")
    }

    /// An array, or null without elements.
    mutating func array<Element>(
        _ elements: [Element],
        _ body: (Element, inout JSONWriter) -> Void
    ) {
        guard !elements.isEmpty else {
            scalar("null")
            return
        }
        open("[")
        for element in elements { body(element, &self) }
        close("]")
    }

    mutating func field(_ name: String, _ body: (inout JSONWriter) -> Void) {
        value(name)
        text += ":"
        needsComma = false
        body(&self)
    }

    mutating func field(_ name: String, _ value: String) { field(name) { $0.value(value) } }

    mutating func field(_ name: String, _ value: UInt64) { field(name) { $0.scalar("\(value)") } }

    mutating func field(_ name: String, _ value: Bool) { field(name) { $0.scalar("\(value)") } }

    mutating func value(_ string: String) {
        var quoted = "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\t": quoted += "\\t"
            case "\u{0}"..<"\u{20}":
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        scalar(quoted + "\"")
    }

    private mutating func scalar(_ literal: String) {
        if needsComma { text += "," }
        text += literal
        needsComma = true
    }

    private mutating func open(_ bracket: String) {
        if needsComma { text += "," }
        text += bracket
        needsComma = false
    }

    private mutating func close(_ bracket: String) {
        text += bracket
        needsComma = true
    }
}
