import Platform

/// A JSON value whose members keep their order.
enum JSONValue: Sendable {
    case text(String)
    case integer(Int)
    case number(Double)
    case boolean(Bool)
    case object([(key: String, value: JSONValue)])

    var rendered: String {
        switch self {
        case .text(let text): JSONText.quoted(text)
        case .integer(let value): "\(value)"
        case .number(let value): value.isFinite ? Decimals.text(value, 3) : "null"
        case .boolean(let value): "\(value)"
        case .object(let members):
            "{"
                + members.map { JSONText.quoted($0.key) + ":" + $0.value.rendered }
                .joined(separator: ",") + "}"
        }
    }
}

/// Numbers with a fixed count of decimals.
enum Decimals {
    static func text(_ value: Double, _ places: Int) -> String {
        var scale = 1.0
        for _ in 0..<places { scale *= 10 }
        guard abs(value) < 9e15 / scale else { return "\(value)" }
        let scaled = Int((abs(value) * scale).rounded())
        let sign = value < 0 && scaled != 0 ? "-" : ""
        let (whole, rest) = (scaled / Int(scale), scaled % Int(scale))
        guard places > 0 else { return "\(sign)\(whole)" }
        let digits = String(rest)
        let zeros = String(repeating: "0", count: places - digits.count)
        return "\(sign)\(whole).\(zeros)\(digits)"
    }

    /// With a space between groups of three digits.
    static func grouped(_ value: Int) -> String {
        var text = ""
        for (index, digit) in String(abs(value)).reversed().enumerated() {
            if index > 0 && index % 3 == 0 { text += " " }
            text.append(digit)
        }
        return (value < 0 ? "-" : "") + String(text.reversed())
    }
}
