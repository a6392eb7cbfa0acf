/// A JSON document to be written: members keep the order they are given in.
package enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case string(String)
    case array([JSONValue])
    case object([(name: String, value: JSONValue)])

    package static func object(_ members: KeyValuePairs<String, JSONValue>) -> JSONValue {
        .object(members.map { ($0.key, $0.value) })
    }

    package static func integer(_ number: some BinaryInteger) -> JSONValue {
        .integer(Int64(clamping: number))
    }

    /// `null` for what there is not.
    package static func optional(_ number: (some BinaryInteger)?) -> JSONValue {
        number.map { .integer($0) } ?? .null
    }

    package static func optional(_ text: String?) -> JSONValue {
        text.map(JSONValue.string) ?? .null
    }

    /// On one line, without spaces.
    package var text: String {
        var out = ""
        write(to: &out)
        return out
    }

    private func write(to out: inout String) {
        switch self {
        case .null: out += "null"
        case .bool(let flag): out += flag ? "true" : "false"
        case .integer(let number): out += "\(number)"
        case .string(let text): out += JSONText.quoted(text)
        case .array(let values):
            out += "["
            for (index, value) in values.enumerated() {
                if index > 0 { out += "," }
                value.write(to: &out)
            }
            out += "]"
        case .object(let members):
            out += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { out += "," }
                out += JSONText.quoted(member.name) + ":"
                member.value.write(to: &out)
            }
            out += "}"
        }
    }
}
