/// Where a node's own certificate, its key and the authorities' certificates are, all PEM.
package struct CredentialFiles: Sendable, Equatable {
    /// The node's certificate first, then those between it and an authority.
    package var certificate: String
    package var key: String
    package var authority: String

    package init(certificate: String, key: String, authority: String) {
        self.certificate = certificate
        self.key = key
        self.authority = authority
    }
}
