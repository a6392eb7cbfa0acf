import Foundation

/// A range of versions as schemas write it: `0-4`, `3+`, `7` or `none`.
struct Versions: Equatable {
    var low: Int
    var high: Int

    static let none = Versions(low: 1, high: 0)
    static let openEnd = Int(Int16.max)

    var isEmpty: Bool { low > high }

    init(low: Int, high: Int) {
        self.low = low
        self.high = high
    }

    init(_ text: String) throws {
        let text = text.trimmingCharacters(in: .whitespaces)
        if text == "none" || text.isEmpty {
            self = .none
        } else if text.hasSuffix("+"), let low = Int(text.dropLast()) {
            self.init(low: low, high: Self.openEnd)
        } else if let only = Int(text) {
            self.init(low: only, high: only)
        } else {
            let parts = text.split(separator: "-").compactMap { Int($0) }
            guard parts.count == 2 else { throw SchemaProblem("versions '\(text)'") }
            self.init(low: parts[0], high: parts[1])
        }
    }

    func clipped(to other: Versions) -> Versions {
        Versions(low: max(low, other.low), high: min(high, other.high))
    }

    /// Whether every version of `other` is in this range.
    func covers(_ other: Versions) -> Bool {
        other.isEmpty || (low <= other.low && other.high <= high)
    }
}

struct SchemaProblem: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// The type of a field.
indirect enum FieldType: Equatable {
    case bool, int8, int16, uint16, int32, uint32, int64, float64
    case string, bytes, records, uuid
    case structure(String)
    case array(FieldType)

    init(_ text: String) {
        if text.hasPrefix("[]") {
            self = .array(FieldType(String(text.dropFirst(2))))
            return
        }
        self =
            switch text {
            case "bool": .bool
            case "int8": .int8
            case "int16": .int16
            case "uint16": .uint16
            case "int32": .int32
            case "uint32": .uint32
            case "int64": .int64
            case "float64": .float64
            case "string": .string
            case "bytes": .bytes
            case "records": .records
            case "uuid": .uuid
            default: .structure(text)
            }
    }

    /// The name of the structure, or of the structure an array has as its elements.
    var structureName: String? {
        switch self {
        case .structure(let name): name
        case .array(let element): element.structureName
        default: nil
        }
    }
}

struct Field {
    let name: String
    let type: FieldType
    let versions: Versions
    let nullable: Versions
    let tagged: Versions
    let tag: Int?
    let ignorable: Bool
    let defaultText: String?
    /// Overrides the message's own flexible versions; only request headers need it.
    let flexible: Versions?
    let about: String
    let fields: [Field]?

    init(_ json: [String: Any], parent: Versions) throws {
        guard let name = json["name"] as? String, let type = json["type"] as? String else {
            throw SchemaProblem("a field without name or type")
        }
        self.name = name
        self.type = FieldType(type)
        versions = try Versions(json["versions"] as? String ?? "0+").clipped(to: parent)
        nullable = try Versions(json["nullableVersions"] as? String ?? "none").clipped(to: versions)
        tagged = try Versions(json["taggedVersions"] as? String ?? "none").clipped(to: versions)
        tag = json["tag"] as? Int
        ignorable = json["ignorable"] as? Bool ?? false
        defaultText = json["default"].map { value in
            (value as? String) ?? "\(value)"
        }
        flexible = try (json["flexibleVersions"] as? String).map { try Versions($0) }
        about = json["about"] as? String ?? ""
        let parentVersions = versions
        fields = try (json["fields"] as? [[String: Any]])?.map {
            try Field($0, parent: parentVersions)
        }
    }
}

/// One message schema.
struct Schema {
    enum Kind { case request, response, other }

    let name: String
    let kind: Kind
    let apiKey: Int?
    let listeners: [String]
    let valid: Versions
    let flexible: Versions
    let latestVersionUnstable: Bool
    let fields: [Field]
    let commonStructs: [(name: String, fields: [Field])]

    init(file: URL) throws {
        let text = try String(contentsOf: file, encoding: .utf8)
        let plain = text.split(separator: "\n", omittingEmptySubsequences: false)
            .filter { !$0.trimmingCharacters(in: .whitespaces).hasPrefix("//") }
            .joined(separator: "\n")
        guard let json = try JSONSerialization.jsonObject(with: Data(plain.utf8)) as? [String: Any],
            let name = json["name"] as? String
        else { throw SchemaProblem("\(file.lastPathComponent) is no message schema") }
        self.name = name
        kind =
            switch json["type"] as? String {
            case "request": .request
            case "response": .response
            default: .other
            }
        apiKey = json["apiKey"] as? Int
        listeners = json["listeners"] as? [String] ?? []
        let valid = try Versions(json["validVersions"] as? String ?? "0")
        self.valid = valid
        flexible = try Versions(json["flexibleVersions"] as? String ?? "none")
        latestVersionUnstable = json["latestVersionUnstable"] as? Bool ?? false
        fields = try (json["fields"] as? [[String: Any]] ?? []).map { try Field($0, parent: valid) }
        commonStructs = try (json["commonStructs"] as? [[String: Any]] ?? []).map { common in
            let versions = try Versions(common["versions"] as? String ?? "0+").clipped(to: valid)
            return (
                common["name"] as? String ?? "",
                try (common["fields"] as? [[String: Any]] ?? []).map {
                    try Field($0, parent: versions)
                }
            )
        }
    }

    /// What clients, brokers' own topics or tools need; what only controllers say to each other is
    /// left out.
    var isWanted: Bool {
        switch kind {
        case .request: listeners.contains("broker")
        case .response: false
        case .other: !name.hasSuffix("Record") && !name.hasSuffix("Message")
        }
    }
}
