// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>Measures a model on a published set by its protocol. Images are read, encoded and forgotten batch by batch.</summary>
/// <param name="model">The model.</param>
/// <param name="tokenizer">Its tokenizer.</param>
/// <param name="record">Receives one object per query, or null.</param>
/// <param name="messages">Shows how far a large set is; may be null.</param>
internal sealed class ProtocolEvaluation(ClipModel model, ITokenizer tokenizer, Action<JsonObject>? record = null, TextWriter? messages = null)
{
    /// <summary>Measures.</summary>
    /// <param name="request">The set.</param>
    /// <param name="cancel">Stops between batches.</param>
    /// <returns>Counts and measures; shares from 0 to 1.</returns>
    /// <exception cref="UserError">A file is missing or damaged.</exception>
    public JsonObject Run(EvaluationRequest request, CancellationToken cancel)
    {
        if (request.Parity != Parity.None && request.Protocol is Protocol.Growing or Protocol.ZeroShot)
        {
            throw new UserError($"--parity f16: {ChoiceOption.Kebab(request.Protocol.ToString())} is no protocol of the authors' scripts, there is nothing to agree with");
        }

        if (request.Protocol == Protocol.Growing)
        {
            JsonObject growing = GrowingEvaluation.Run(model, tokenizer, EvaluationSet.Load(request.Data, request.Images), cancel, record);
            AddImageFolder(growing, request);
            return growing;
        }

        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        model.ProductType = request.Parity == Parity.F16 ? ScalarType.Float16 : model.ProductType;
        JsonObject json = request.Protocol switch
        {
            Protocol.HimoDocci => HimoDocci(request, cancel),
            Protocol.Cola => Cola(request, cancel),
            Protocol.ZeroShot => ZeroShot.Run(model, tokenizer, ImageFolder.Load(request.Data, request.Classes), ZeroShot.Templates(request.Templates), record, cancel, messages),
            _ => Retrieve(RetrievalSets.Load(request.Protocol, request.Data, request.Images, request.Columns), request, cancel),
        };
        json.Insert(0, "protocol", ChoiceOption.Kebab(request.Protocol.ToString()));
        json.Insert(1, "data", request.Data);
        json.Insert(2, "parity", ChoiceOption.Kebab(request.Parity.ToString()));
        AddImageFolder(json, request);
        return json;
    }

    /// <summary>Where a page finds the pictures.</summary>
    private static void AddImageFolder(JsonObject json, EvaluationRequest request)
    {
        if (request.Images is { } folder)
        {
            json["image_folder"] = folder;
        }
    }

    private JsonObject Retrieve(RetrievalSet set, EvaluationRequest request, CancellationToken cancel)
    {
        Parity parity = request.Parity;
        set = request.Protocol == Protocol.Sharegpt4v ? set.Readable(request.Data) : set; // of which users lack some images
        Tensor images = Retrieval.Rounded(FeatureEncoder.Images(model, set.Images, set.RgbFirst, cancel, messages), parity);
        (Tensor texts, int truncated) = Texts(set.Captions, parity, cancel);
        Retrieval retrieval = Retrieval.FromFeatures(images, texts, best: record is null ? 1 : QueryRecords.Kept, parity: parity, cancel: cancel);
        if (record is not null)
        {
            foreach (JsonObject query in QueryRecords.Of(retrieval, set))
            {
                record(query);
            }
        }

        JsonObject json = retrieval.ToJson();
        json["image_to_text_mean_rank"] = retrieval.ImageToText.MeanRank;
        json["image_to_text_median_rank"] = retrieval.ImageToText.MedianRank;
        json["text_to_image_mean_rank"] = retrieval.TextToImage.MeanRank;
        json["text_to_image_median_rank"] = retrieval.TextToImage.MedianRank;
        json["images"] = set.Images.Count;
        json["texts"] = set.Captions.Count;
        if (set.Unreadable > 0)
        {
            json["skipped_images"] = set.Unreadable;
        }

        json["tied_queries"] = retrieval.TiedQueries;
        json["truncated_captions"] = truncated;
        json["failures"] = WorstQueries.From(retrieval, set);
        return json;
    }

    private JsonObject HimoDocci(EvaluationRequest request, CancellationToken cancel)
    {
        // The authors skip what they cannot open.
        (IReadOnlyList<GrowingCaption> found, int skipped) = ReadableImages.Of(GrowingCaptions.Load(request.Data, request.Images), caption => caption.ImagePath, request.Data);
        Tensor images = Retrieval.Rounded(FeatureEncoder.Images(model, [.. found.Select(caption => caption.ImagePath)], rgbFirst: true, cancel, messages), request.Parity);
        (Tensor texts, int truncated) = Texts([.. found.SelectMany(caption => caption.Captions)], request.Parity, cancel);
        Tensor own = images.repeat_interleave(tensor(found.Select(caption => (long)caption.Captions.Length).ToArray()), 0);
        double[][] similarity = Rows(Retrieval.Rounded((texts * own).sum(1), request.Parity)), margin = Rows((texts * (own - images.mean([0L], keepdim: true))).sum(1));
        foreach ((GrowingCaption caption, double[] row) in found.Zip(similarity))
        {
            record?.Invoke(QueryRecords.Of(caption, row));
        }

        GrowthDetails details = GrowthDetails.From(found, similarity, margin);
        JsonObject json = details.Growth.ToJson();
        json["images"] = found.Count;
        json["skipped_images"] = skipped;
        json["captions"] = similarity.Sum(row => row.Length);
        json["truncated_captions"] = truncated;
        json["equal_neighbours"] = similarity.Sum(row => row.Zip(row.Skip(1)).Count(pair => pair.First == pair.Second));
        json["margin"] = details.Margin.ToJson();
        details.AddTo(json);
        return json;

        double[][] Rows(Tensor values) => GrowthDetails.Rows(values.data<float>().ToArray(), found);
    }

    private JsonObject Cola(EvaluationRequest request, CancellationToken cancel)
    {
        List<ColaPair> pairs = ColaPairs.Load(request.Data, request.Images);
        Tensor images = Retrieval.Rounded(FeatureEncoder.Images(model, [.. pairs.SelectMany(pair => new[] { pair.FirstImage, pair.SecondImage })], rgbFirst: false, cancel, messages), request.Parity);
        (Tensor texts, _) = Texts([.. pairs.SelectMany(pair => new[] { pair.FirstCaption, pair.SecondCaption })], request.Parity, cancel);
        Tensor scores = images.view(pairs.Count, 2, -1).matmul(texts.view(pairs.Count, 2, -1).transpose(1, 2)); // pair, image, caption
        float[] values = Retrieval.Rounded(scores, request.Parity).contiguous().data<float>().ToArray();
        for (int i = 0; i < pairs.Count && record is not null; i++)
        {
            float[] four = values[(4 * i)..(4 * (i + 1))];
            record(new JsonObject
            {
                ["images"] = new JsonArray(pairs[i].FirstImage, pairs[i].SecondImage),
                ["texts"] = new JsonArray(pairs[i].FirstCaption, pairs[i].SecondCaption),
                ["scores"] = new JsonArray(new JsonArray(four[0], four[1]), new JsonArray(four[2], four[3])), // image, text
                ["right"] = ColaAccuracy(four) == 1,
            });
        }

        return new JsonObject { ["accuracy"] = ColaAccuracy(values), ["pairs"] = pairs.Count };
    }

    private (Tensor Features, int Truncated) Texts(IReadOnlyList<string> texts, Parity parity, CancellationToken cancel)
    {
        (Tensor features, int truncated) = FeatureEncoder.Texts(model, tokenizer, texts, cancel);
        return (Retrieval.Rounded(features, parity), truncated);
    }

    /// <summary>Share of the pairs where each caption prefers its own image, strictly.</summary>
    /// <param name="scores">For each pair: first image with both captions, second image with both captions.</param>
    internal static double ColaAccuracy(ReadOnlySpan<float> scores)
    {
        int right = 0;
        for (int i = 0; i < scores.Length; i += 4)
        {
            right += scores[i] > scores[i + 2] && scores[i + 3] > scores[i + 1] ? 1 : 0;
        }

        return right / (scores.Length / 4.0);
    }
}
