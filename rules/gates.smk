# Needs: results/{study}/gates/{model}/card.json, its weights, and clean images of the set that the gate is on
# Makes, for models that have a gate:
#   results/{study}/gates/{model}/card.json              the model before its gate
#   results/{study}/gates/{model}/predictions.parquet    its answers to some clean images
#   results/{study}/gates/{model}/verdict.json           how many were right, and how many should be
#   results/{study}/models/{model}.json                  the model's card, which says why where it does not pass


use rule describe_model as describe_before_gate with:
    output:
        "results/{study}/gates/{model}/card.json",
    log:
        "results/{study}/logs/describe_before_gate/{model}.log",
    benchmark:
        "results/{study}/benchmarks/describe_before_gate/{model}.jsonl"
    wildcard_constraints:
        model=alternatives(dag.gates.models()),
    localrule: True


rule predict_gate:
    input:
        card="results/{study}/gates/{model}/card.json",
        weights=dag.model_weights,
        images=dag.gates.images,
        files=dag.gates.files,
    output:
        update("results/{study}/gates/{model}/predictions.parquet"),
    log:
        "results/{study}/logs/predict_gate/{model}.log",
    benchmark:
        "results/{study}/benchmarks/predict_gate/{model}.jsonl"
    wildcard_constraints:
        model=alternatives(dag.gates.models()),
    conda:
        "../envs/withstand.yaml"
    threads: dag.gates.reading_threads
    resources:
        mem_mb=dag.resources.model_memory,
        runtime=dag.resources.gate_minutes,
        gpu=1,
    params:
        image_sets=dag.gates.image_set,
        computing=dag.computing,
        code=dag.gates.prediction_code,
    message:
        "Running {wildcards.model} on the images of its gate"
    shell:
        "withstand predict {params.image_sets:q} --card {input.card:q} --weights={input.weights:q}"
        " --computing {params.computing:q} --code {params.code} --threads {threads} > {log:q} 2>&1"


rule judge_gate:
    input:
        card="results/{study}/gates/{model}/card.json",
        predictions="results/{study}/gates/{model}/predictions.parquet",
    output:
        card="results/{study}/models/{model}.json",
        verdict="results/{study}/gates/{model}/verdict.json",
    log:
        "results/{study}/logs/judge_gate/{model}.log",
    benchmark:
        "results/{study}/benchmarks/judge_gate/{model}.jsonl"
    wildcard_constraints:
        model=alternatives(dag.gates.models()),
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        gate=dag.gates.gate,
        judged_by=dag.gates.judged_by,
        code=code_digest("withstand.steps.gate:judge_gate"),
    message:
        "Judging {wildcards.model} at its gate"
    shell:
        "withstand judge-gate {input.card:q} {input.predictions:q} --gate {params.gate:q} --card {output.card:q}"
        " --verdict {output.verdict:q} > {log:q} 2>&1"
