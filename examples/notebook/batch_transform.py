"""The article's notebook, "Batch transform with JumpStart text-to-text models", step by step.

Its code as it was published, but for three things: the model is the embedded one, the data is the
demo's instead of CNN/DailyMail, and ROUGE is textmill's own, so that nothing is downloaded.

    python3 -m venv notebook && notebook/bin/pip install 'sagemaker<3' pandas
    cp src/textmill/assets/demo/data/packages.jsonl .
    textmill gateway &
    eval "$(textmill gateway env)"
    notebook/bin/python examples/notebook/batch_transform.py
"""

import ast
import json
import os
import subprocess

import boto3
import pandas as pd
import sagemaker
from sagemaker import image_uris, model_uris
from sagemaker.jumpstart.notebook_utils import list_jumpstart_models
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.session import Session
from sagemaker.utils import name_from_base

# 1. Set up
sagemaker_session = Session()
aws_role = sagemaker_session.get_caller_identity_arn()
aws_region = boto3.Session().region_name
sess = sagemaker.Session()

# 2. Select a pre-trained model
model_id, model_version = ("huggingface-text2text-textmill-demo", "*")
text2text_models = list_jumpstart_models(filter="task == text2text")
assert model_id in text2text_models
assert "huggingface-text2text-flan-t5-large" in text2text_models

# 3. Retrieve its artifacts
inference_instance_type = "ml.p3.2xlarge"
deploy_image_uri = image_uris.retrieve(
    region=None,
    framework=None,
    image_scope="inference",
    model_id=model_id,
    model_version=model_version,
    instance_type=inference_instance_type,
)
model_uri = model_uris.retrieve(
    model_id=model_id, model_version=model_version, model_scope="inference"
)
model = Model(
    image_uri=deploy_image_uri, model_data=model_uri, role=aws_role, predictor_cls=Predictor
)

# 4. Specify the job's hyperparameters
hyper_params = {"batch_size": 4, "max_length": 50}
hyper_params_dict = {"HYPER_PARAMS": str(hyper_params)}

# 5. Prepare the data
output_bucket = sess.default_bucket()
output_prefix = "jumpstart-example-text2text-batch-transform"
s3_input_data_path = f"s3://{output_bucket}/{output_prefix}/batch_input/"
s3_output_data_path = f"s3://{output_bucket}/{output_prefix}/batch_output/"
prompt = "Briefly summarize this text: "
test_data_file_name = "articles.jsonl"
test_reference_file_name = "highlights.jsonl"
test_articles = []
test_highlights = []
with open("packages.jsonl", encoding="utf-8") as file:
    data = [json.loads(line) for line in file][: int(os.environ.get("RECORDS", "100"))]
for id, test_entry in enumerate(data):
    article = test_entry["document"]
    highlights = test_entry["summary"]
    payload = {"id": id, "text_inputs": f"{prompt}{article}"}
    test_articles.append(payload)
    test_highlights.append({"id": id, "highlights": highlights})
with open(test_data_file_name, "w") as outfile:
    for entry in test_articles:
        outfile.write("%s\n" % json.dumps(entry))
with open(test_reference_file_name, "w") as outfile:
    for entry in test_highlights:
        outfile.write("%s\n" % json.dumps(entry))
s3 = boto3.client("s3")
s3.upload_file(
    test_data_file_name, output_bucket, os.path.join(output_prefix + "/batch_input/articles.jsonl")
)

# 6. Run the batch transform job
batch_transformer = model.transformer(
    instance_count=1,
    instance_type=inference_instance_type,
    output_path=s3_output_data_path,
    assemble_with="Line",
    accept="text/csv",
    max_payload=1,
    env=hyper_params_dict,
)
batch_transformer.transform(
    s3_input_data_path, content_type="application/jsonlines", split_type="Line"
)
batch_transformer.wait()

# 7. Evaluate
s3.download_file(
    output_bucket, output_prefix + "/batch_output/" + "articles.jsonl.out", "predict.jsonl"
)
with open("predict.jsonl") as json_file:
    json_list = list(json_file)
predict_dict_list = []
for predict in json_list:
    if len(predict) > 1:
        predict_dict = ast.literal_eval(predict)
        predict_dict_req = {
            "id": predict_dict["id"],
            "prediction": predict_dict["generated_texts"][0],
        }
        predict_dict_list.append(predict_dict_req)
predict_df = pd.DataFrame(predict_dict_list)
test_highlights_df = pd.DataFrame(test_highlights)
df_merge = test_highlights_df.merge(predict_df, on="id", how="left")
assert not df_merge["prediction"].isna().any()
df_merge[["id", "prediction"]].to_json("predictions.jsonl", orient="records", lines=True)
score = ["score", "predictions.jsonl", test_reference_file_name, "--pred", "prediction"]
subprocess.run(["textmill", *score, "--ref", "highlights"], check=True)
batch_transformer.delete_model()

# 8. Real-time batch inference
endpoint_name = name_from_base(f"jumpstart-example-{model_id}")
model_predictor = model.deploy(
    initial_instance_count=1,
    instance_type=inference_instance_type,
    predictor_cls=Predictor,
    endpoint_name=endpoint_name,
)
text_inputs = [entry["text_inputs"] for entry in test_articles[0:10]]
payload = {
    "text_inputs": text_inputs,
    "max_length": 50,
    "num_return_sequences": 1,
    "top_k": 50,
    "top_p": 0.95,
    "do_sample": True,
    "batch_size": 4,
}


def query_endpoint_with_json_payload(encoded_json, endpoint_name):
    client = boto3.client("runtime.sagemaker")
    response = client.invoke_endpoint(
        EndpointName=endpoint_name, ContentType="application/json", Body=encoded_json
    )
    return response


query_response = query_endpoint_with_json_payload(
    json.dumps(payload).encode("utf-8"), endpoint_name=endpoint_name
)


def parse_response_multiple_texts(query_response):
    model_predictions = json.loads(query_response["Body"].read())
    return model_predictions


generated_text_list = parse_response_multiple_texts(query_response)
print(*generated_text_list, sep="\n")
assert len(generated_text_list) == 10

# Clean up
model_predictor.delete_model()
model_predictor.delete_endpoint()
