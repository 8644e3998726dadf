"""A study rehearsed in small: every rule once for each combination of what can differ, on this machine, without a
network, in a folder of its own that nothing else reads.

    choose    which models, datasets and experiments stand for all
    shrink    how few samples, conditions and draws are enough
    images    made-up archives in the published layouts; sets: in the place of those that are not at hand
    weights   random weights where those of a model are not at hand; google: in Google's layout
    server    serves both as the network would
    warm      starts steps without importing torch anew
    rates     how fast models of full size are here, for `withstand plan`
    run       all of it in order; outcome: what came of it
    report    what people are told
"""
