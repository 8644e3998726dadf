# Needs: the zoo in the package, timm's hub, addresses of checkpoints, or the user's own files.
# Makes:
#   results/weights/{weights}.safetensors    of the zoo, of timm and from addresses, fetched once
#   results/{study}/models/{model}.json      model cards; of models with a gate by gates.smk


rule fetch_weights:
    output:
        "results/weights/{weights}.safetensors",
    log:
        "results/weights/logs/{weights}.log",
    wildcard_constraints:
        weights=alternatives(dag.fetched_weights()),
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        source=dag.fetch_arguments,
    message:
        "Fetching the weights {wildcards.weights}"
    shell:
        "withstand fetch-weights {params.source:q} --output {output:q} > {log:q} 2>&1"


rule describe_model:
    input:
        weights=dag.model_weights,
    output:
        "results/{study}/models/{model}.json",
    log:
        "results/{study}/logs/describe_model/{model}.log",
    benchmark:
        "results/{study}/benchmarks/describe_model/{model}.jsonl"
    wildcard_constraints:
        model=alternatives(dag.gates.others()),
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        spec=dag.model_spec,
        code=dag.card_code,
    message:
        "Describing the model {wildcards.model}"
    shell:
        "withstand describe-model --model {wildcards.model:q} --spec {params.spec:q} --weights={input.weights:q}"
        " --output {output:q} > {log:q} 2>&1"
