import FuzzDriver

/// The names in requests: few, so that requests meet; and some longer than a length of 16 bits.
struct RequestStrings {
    private static let compact = String(repeating: "l", count: 40_000)
    /// What a length of 16 bits can just say.
    private static let longest = String(repeating: "m", count: Int(Int16.max))

    /// Whether the request is of a version with compact lengths, which can say more.
    var areCompact = true
    private var long: String { areCompact ? Self.compact : Self.longest }

    /// Ids the coordinator gave out, the last ones first.
    private(set) var members: [String] = []

    mutating func remember(member: String) {
        guard !member.isEmpty, !members.contains(member) else { return }
        members.insert(member, at: 0)
        if members.count > 8 { members.removeLast() }
    }

    func group(_ input: inout FuzzInput) -> String {
        switch input.byte() {
        case 253: Self.longest
        case 254: long
        case 255: ""
        case let number: "group \(number & 1)"
        }
    }

    func member(_ input: inout FuzzInput) -> String {
        let choice = Int(input.byte())
        if choice == 255 { return long }
        return choice < 64 || members.isEmpty ? "" : members[choice % members.count]
    }

    func instance(_ input: inout FuzzInput) -> String? {
        switch input.byte() {
        case 253: Self.longest
        case 254: long
        case 250...252: ""
        case 200...: "instance 1"
        case 150...: "instance 2"
        default: nil
        }
    }

    func name(_ input: inout FuzzInput) -> String { instance(&input) ?? "name" }

    /// Its length is of 16 bits in every version.
    func clientID(_ input: inout FuzzInput) -> String {
        input.byte() & 1 == 0 ? Self.longest : ""
    }
}
