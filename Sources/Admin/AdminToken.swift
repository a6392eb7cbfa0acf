/// The secret that admin requests must carry.
package struct AdminToken: Sendable {
    private let bytes: [UInt8]

    /// `nil` when it could not be carried in a header, or could be guessed.
    package init?(_ text: String) {
        guard text.utf8.count >= 16, text.utf8.count <= 1024,
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
        else { return nil }
        bytes = Array(text.utf8)
    }

    /// Whether the value of an Authorization header is `Bearer` and this token.
    ///
    /// Takes the same time whatever part of the token is right.
    package func admits(_ authorization: String?) -> Bool {
        guard let authorization else { return false }
        let parts = authorization.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return false }
        let given = Array(parts[1].utf8)
        var difference = given.count ^ bytes.count
        for index in bytes.indices {
            let other = given.isEmpty ? 0 : given[index % given.count]
            difference |= Int(bytes[index] ^ other)
        }
        return difference == 0
    }
}
