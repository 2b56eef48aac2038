"""The simulations of `benchmarks.simulations` in other packages, each a program of its own.

    python -m benchmarks.simulation_peers mesa|egttools|igraph|networkit

prints agent-updates a second of norm change on a torus of 50 x 50 (mesa, egttools), or seconds for
a network of 1,000,000 papers with 10 references each (igraph, networkit).
"""

import math
import os
import sys
import time

SIDE, SELECTION_STRENGTH, MUTATION_RATE = 50, 5.0, 0.05
# a = 0.4, b = 0.6, need for coordination 0.5
PAYOFFS = ((0.4, 0.2), (0.3, 0.6))
PAPERS, REFERENCES = 1_000_000, 10


def use_one_core() -> None:
    """Keeps this program on one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def mesa(generations: int = 40) -> float:
    """The rule of `games.imitation` with frozen payoffs in random order, agent by agent."""
    from mesa import Model
    from mesa.discrete_space import CellAgent, OrthogonalVonNeumannGrid

    low, high = 4 * min(map(min, PAYOFFS)), 4 * max(map(max, PAYOFFS))
    scale = SELECTION_STRENGTH / (high - low)

    class Person(CellAgent):
        def __init__(self, model, cell):
            super().__init__(model)
            self.cell, self.norm = cell, model.random.randrange(2)

        def find_neighbors(self):
            self.neighbors = [cell.agents[0] for cell in self.cell.connections.values()]

        def play(self):
            row = PAYOFFS[self.norm]
            self.payoff = sum([row[other.norm] for other in self.neighbors])

        def learn(self):
            random = self.model.random
            teacher = random.choice(self.neighbors)
            if random.random() < 1 / (1 + math.exp(scale * (self.payoff - teacher.payoff))):
                mutates = random.random() < MUTATION_RATE
                self.norm = random.randrange(2) if mutates else teacher.norm

    class Society(Model):
        def __init__(self):
            super().__init__(seed=0)
            grid = OrthogonalVonNeumannGrid((SIDE, SIDE), torus=True, random=self.random)
            for cell in grid.all_cells:
                Person(self, cell)
            self.agents.do("find_neighbors")

        def step(self):
            self.agents.do("play")
            self.agents.shuffle_do("learn")

    society = Society()
    society.step()
    start = time.perf_counter()
    for _ in range(generations):
        society.step()
    return generations * SIDE**2 / (time.perf_counter() - start)


def egttools(generations: int = 800) -> float:
    """Fermi imitation, one random agent at a time with payoffs of that moment.

    A generation of this package is one event. Its payoffs are not normalised, so that the
    selection strength is divided by their range.
    """
    import numpy as np
    from egttools.games import NormalFormNetworkGame
    from egttools.numerical import NetworkEvolver
    from egttools.numerical.structure import Network

    def node(i, j):
        return i % SIDE * SIDE + j % SIDE

    neighbors = {node(i, j): [node(i - 1, j), node(i + 1, j), node(i, j - 1), node(i, j + 1)]
                 for i in range(SIDE) for j in range(SIDE)}
    matrix = np.array(PAYOFFS)
    game = NormalFormNetworkGame(1, matrix)  # kept: a temporary one ends the program
    beta = SELECTION_STRENGTH / (4 * np.ptp(matrix))
    NetworkEvolver.evolve(SIDE**2, Network(2, beta, MUTATION_RATE, neighbors, game))
    network = Network(2, beta, MUTATION_RATE, neighbors, game)
    start = time.perf_counter()
    NetworkEvolver.evolve(generations * SIDE**2, network)
    return generations * SIDE**2 / (time.perf_counter() - start)


def igraph() -> float:
    """Price's model by the bag, in which a paper may cite another twice."""
    import igraph as package

    start = time.perf_counter()
    package.Graph.Barabasi(PAPERS, REFERENCES, directed=True, outpref=False, power=1,
                           zero_appeal=1, implementation="bag")
    return time.perf_counter() - start


def networkit() -> float:
    """Preferential attachment to all degrees, by Batagelj and Brandes, in one thread."""
    import networkit as package

    package.setNumberOfThreads(1)
    start = time.perf_counter()
    package.generators.BarabasiAlbertGenerator(REFERENCES, PAPERS, REFERENCES).generate()
    return time.perf_counter() - start


if __name__ == "__main__":
    use_one_core()  # none of them would use more
    print(dict(mesa=mesa, egttools=egttools, igraph=igraph, networkit=networkit)[sys.argv[1]]())
