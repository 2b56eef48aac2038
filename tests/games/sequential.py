"""Passes agent by agent, as plain loops in float64: what the parallel passes are compared with."""

import numpy as np

from nfnets_jax.games import exploration, imitation


def draw(key, num_replicas, num_nodes, num_pairs=1):
    """The words of `imitation.random_words`, [R, words, N]."""
    return np.stack([np.asarray(word).T for word in imitation.random_words(
        key, num_replicas, num_nodes, num_pairs)], axis=1)


class Pass:
    """The turns of one population's agents, in order; isolated agents have none.

    Each is (agent, teacher, chance, probability to accept it as things are by then).
    """

    def __init__(self, words, norms, graph, payoffs, strength, update="random_sequential",
                 teacher_payoff="frozen"):
        self.norms, self.old, self.update = norms.copy(), norms, update
        self.neighbors = [row[:degree].tolist() for row, degree in zip(
            graph.neighbors, graph.degrees, strict=True)]
        self.payoffs = np.array([sum(payoffs[norms[i], norms[j]] for j in near)
                                 for i, near in enumerate(self.neighbors)])
        self.shown_payoffs = self.payoffs.copy()
        self.is_zero = teacher_payoff == "zero"
        degrees = [len(near) for near in self.neighbors if near]
        self.scale = strength / (max(degrees) * payoffs.max() - min(degrees) * payoffs.min())
        self.words, self.order = words, words[1].astype(np.int64)
        if update == "checkerboard":
            i, j = np.divmod(np.arange(len(norms)), graph.sides[1])
            self.order = (i + j) % 2 if graph.neighbors.shape[1] == 4 else 2 * (i % 2) + j % 2

    def __iter__(self):
        for i in np.lexsort((np.arange(len(self.norms)), self.order)):
            near = self.neighbors[i]
            if near:
                teacher = near[(int(self.words[1][i]) & 0xFFFF) * len(near) >> 16]
                difference = self.scale * (self.shown_payoffs[teacher] - self.payoffs[i])
                yield (i, teacher, (self.words[0][i] >> 8) / 2.0**24,
                       1.0 / (1.0 + np.exp(-difference)))

    def norm_of(self, j):
        return (self.old if self.update == "synchronous" else self.norms)[j]

    def replace(self, i, norm):
        self.norms[i] = norm
        if self.is_zero:
            self.shown_payoffs[i] = 0.0


def imitate(words, norms, graph, payoffs, strength, mu, update="random_sequential",
            teacher_payoff="frozen", mutation="in_imitation"):
    """`imitation.imitate` of one population: int8 [N]."""
    turns = Pass(words, norms, graph, payoffs, strength, update, teacher_payoff)
    for i, j, chance, accept in turns:
        if mutation == "in_imitation" and chance < accept:
            mutates = chance < accept * mu
            turns.replace(i, int(chance >= accept * mu / 2) if mutates else turns.norm_of(j))
        elif mutation == "switch" and chance < mu + (1 - mu) * accept:
            turns.replace(i, 1 - turns.norms[i] if chance < mu else turns.norm_of(j))
        elif mutation == "overridable" and chance < accept:
            turns.replace(i, turns.norm_of(j))
        elif mutation == "overridable" and chance < accept + (1 - accept) * mu:
            turns.replace(i, int(chance >= accept + (1 - accept) * mu / 2))
    return turns.norms


def explore(words, norms, rates, graph, payoffs, strength, redraw, teacher_payoff="frozen"):
    """`exploration.explore` of one population: norms and rates, int8 [N]."""
    turns = Pass(words, norms, graph, payoffs, strength, teacher_payoff=teacher_payoff)
    rates, (exploring, redrawing) = rates.copy(), (words[2:] >> 8) / 2.0**24
    for i, j, chance, accept in turns:
        rate = exploration.RATES[rates[i]]
        if exploring[i] < rate:
            turns.replace(i, int(exploring[i] >= rate / 2))
        if redrawing[i] < redraw:
            rates[i] = int(redrawing[i] / redraw * len(exploration.RATES))
        if chance < accept:
            turns.replace(i, turns.norms[j])
            rates[i] = rates[j]
    return turns.norms, rates


def conform(words, norms, graph, payoffs, strength, mu, k, update="random_sequential",
            mutation="as_2017"):
    """`conformity.conform` of one population with k [N]: int8 [N]."""
    turns = Pass(words, norms, graph, payoffs, strength, update)
    for i, j, chance, accept in turns:
        if mutation == "every_update":
            if chance < mu:
                turns.replace(i, int(chance >= mu / 2))
                continue
            chance = (chance - mu) / (1 - mu)
        if chance < k[i]:
            lead = sum(2 * int(turns.norm_of(n)) - 1 for n in turns.neighbors[i])
            if mutation == "as_2017" and chance < k[i] * mu:
                turns.replace(i, int(chance >= k[i] * mu / 2))
            elif lead:
                turns.replace(i, int(lead > 0))
        elif chance - k[i] < (1 - k[i]) * accept:
            first = (1 - k[i]) * accept * mu if mutation == "as_2017" else 0.0
            mutates = chance - k[i] < first
            turns.replace(i, int(chance - k[i] >= first / 2) if mutates else turns.norm_of(j))
    return turns.norms
