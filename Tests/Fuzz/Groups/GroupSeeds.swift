import FuzzDriver

/// Lives of groups: what `CoordinatorLife` reads, step by step.
enum GroupSeeds {
    static func all() -> [FuzzProgram.Seed] {
        let join: [UInt8] = [0, 2, 0, 0, 10, 0, 100, 0]
        let joinAgain: [UInt8] = [0, 9, 0, 64, 0, 10, 0, 100, 0]
        let joinNew: [UInt8] = [0, 9, 0, 0, 0, 10, 0, 100, 0]
        let joinStatic: [UInt8] = [0, 9, 0, 0, 200, 10, 0, 100, 0]
        let wait: [UInt8] = [10, 0, 60]
        let sync: [UInt8] = [2, 0, 64, 1, 0] + [UInt8](repeating: 7, count: 8)
        let written: [UInt8] = [8, 0]
        let commit: [UInt8] = [5, 0, 64, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0]
        let simple: [UInt8] = [5, 1, 0, 255, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0]
        let beat: [UInt8] = [3, 0, 64, 1, 0]
        let leave: [UInt8] = [4, 5, 0, 1, 64, 0]
        let long: [UInt8] = [11, 255, 255]
        return [
            ("one-member", join + wait + sync + written + beat + commit + written + leave + wait),
            ("known-member", joinNew + joinAgain + wait + sync + written + commit + written),
            ("static-member", joinStatic + wait + sync + written + joinStatic + written + beat),
            ("two-members", join + join + wait + sync + written + join + beat + sync + written),
            ("simple-commits", simple + written + simple + written + [7, 2, 1, 1] + written),
            ("failed-write", join + wait + sync + [8, 3] + joinAgain + wait + sync + written),
            (
                "expired",
                simple + written + long + written + join + wait + [10, 255, 255] + written
            ),
            (
                "deleted",
                simple + written + [7, 1, 1] + written + simple + written + [7, 0] + written
            ),
            ("not-awaited", join + wait + sync),
        ]
    }
}
