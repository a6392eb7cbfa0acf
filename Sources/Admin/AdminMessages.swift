package import Platform

/// An HTTP request, reduced to what the routes look at.
package struct AdminRequest: Sendable {
    package var method: String
    /// Without the query, percent escapes undone.
    package var path: String
    package var authorization: String?
    /// The page a browser sends the request for.
    package var origin: String?

    package init(
        method: String,
        path: String,
        authorization: String? = nil,
        origin: String? = nil
    ) {
        self.method = method
        self.path = path
        self.authorization = authorization
        self.origin = origin
    }
}

/// What goes back.
package struct AdminResponse: Sendable, Equatable {
    package var status: Int
    package var contentType: String
    package var body: String
    package var headers: [Header] = []

    package struct Header: Sendable, Equatable {
        package var name: String
        package var value: String
    }

    package static func json(_ value: JSONValue, status: Int = 200) -> AdminResponse {
        AdminResponse(status: status, contentType: "application/json", body: value.text + "\n")
    }

    /// Every error is one JSON object with its status and what would be right.
    package static func error(_ status: Int, _ message: String) -> AdminResponse {
        .json(.object(["error": .string(message), "status": .integer(status)]), status: status)
    }

    static func plain(_ text: String, status: Int = 200) -> AdminResponse {
        AdminResponse(status: status, contentType: "text/plain; charset=utf-8", body: text)
    }

    func adding(_ name: String, _ value: String) -> AdminResponse {
        var copy = self
        copy.headers.append(Header(name: name, value: value))
        return copy
    }
}

/// How a request is answered: at once, or after asking the node.
package enum AdminAnswer: Sendable {
    case now(AdminResponse)
    /// Runs on an event loop; what it returns writes the response elsewhere.
    case asking(@Sendable () async -> @Sendable () -> AdminResponse)
}
