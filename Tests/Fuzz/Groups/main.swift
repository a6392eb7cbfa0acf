import FuzzDriver

// What clients send to one coordinator, when its writes end, and how time passes.
FuzzProgram.run(seeds: GroupSeeds.all) { bytes in
    var input = FuzzInput(bytes)
    let life = CoordinatorLife()
    while !input.isEmpty { life.step(&input) }
    life.finish()
}
