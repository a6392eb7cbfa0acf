import Platform

extension ServerConfiguration {
    /// The secret of the admin server; `nil` when there is none.
    ///
    /// The first line of its file, so that `openssl rand -hex 32 > FILE` makes one.
    package func readAdminToken() throws(ConfigurationError) -> String? {
        try readAdminToken { (path) throws(ConfigurationError) in try TOMLFile.read(path) }
    }

    func readAdminToken(
        _ readFile: (String) throws(ConfigurationError) -> String
    ) throws(ConfigurationError) -> String? {
        guard let adminTokenFile else { return nil }
        let text: String
        do {
            text = try readFile(adminTokenFile)
        } catch {
            throw ConfigurationError("admin.token.file: \(error.message)")
        }
        // In bytes: "\r\n" is one character of a Swift string.
        let lines = text.utf8.split(
            separator: UInt8(ascii: "\n"),
            omittingEmptySubsequences: false
        )
        let line = lines[0]
        let token = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
        guard (16...1024).contains(token.count), token.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
        else {
            // The line itself is a secret, and is not shown.
            throw ConfigurationError(
                "admin.token.file: the first line of \(adminTokenFile) is no token; expected 16 to "
                    + "1024 printable ASCII characters without spaces"
            )
        }
        return String(Substring(token))
    }
}
