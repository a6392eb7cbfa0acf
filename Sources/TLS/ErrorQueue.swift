import COpenSSL

/// What OpenSSL says of its last failure on this thread.
enum ErrorQueue {
    static func clear() { ERR_clear_error() }

    /// The first cause; the queue is empty afterwards.
    static func take() -> (code: UInt, text: String) {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0 else { return (0, "no reason given") }
        guard let reason = ERR_reason_error_string(code) else { return (code, "error \(code)") }
        return (code, String(cString: reason))
    }
}
