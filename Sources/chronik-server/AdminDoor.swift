import Admin
import AdminHTTP
import Configuration
import Platform

/// The admin server of the process: it listens before the node starts, and says that it is not
/// ready until it is.
struct AdminDoor: Sendable {
    let routes: AdminRoutes
    let server: AdminServer

    /// `nil` when none is wanted.
    static func open(
        _ configuration: ServerConfiguration,
        on platform: RealPlatform
    ) throws(ConfigurationError) -> AdminDoor? {
        guard case .at(let address) = configuration.adminAddress else { return nil }
        let routes = AdminRoutes(token: try configuration.readAdminToken().flatMap(AdminToken.init))
        do {
            let server = try AdminServer.start(
                routes,
                on: address,
                loop: platform.loops[0],
                platform: platform
            )
            return AdminDoor(routes: routes, server: server)
        } catch {
            throw ConfigurationError(
                "the admin server cannot listen on \(error); set admin.addr to another address, "
                    + "to port 0 for any free one, or to none"
            )
        }
    }
}
