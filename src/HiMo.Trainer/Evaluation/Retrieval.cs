// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>What rank the right answer gets where other candidates have exactly its score.</summary>
internal enum TieRule
{
    /// <summary>Candidates stand in the order of their index, as argmax takes them.</summary>
    LowerIndexFirst,

    /// <summary>All have the best rank among them: for candidates that cannot be told apart, such as captions of the same words.</summary>
    ShareRank,
}

/// <summary>
/// Recall in both directions from similarities of images (rows) with texts (columns), k texts for each image: texts k i to k i + k - 1 belong
/// to image i. An image is answered by the best of its texts. Source: HiMo-CLIP eval/retrieval.
/// </summary>
/// <param name="ImageToText">One query per image.</param>
/// <param name="TextToImage">One query per text.</param>
/// <param name="TiedQueries">Queries whose answer has another candidate's very score, so that the rule for ties matters.</param>
internal sealed record Retrieval(RecallResult ImageToText, RecallResult TextToImage, int TiedQueries)
{
    private const int BlockRows = 512;

    private delegate QueryHits HitsOfRow(ReadOnlySpan<float> scores, int query);

    /// <summary>What each image found among the texts; empty unless kept.</summary>
    public IReadOnlyList<QueryHits> ImageQueries { get; private init; } = [];

    /// <summary>What each text found among the images; empty unless kept.</summary>
    public IReadOnlyList<QueryHits> TextQueries { get; private init; } = [];

    /// <summary>Ranks every query.</summary>
    /// <param name="similarity">images x texts, row-major, none NaN.</param>
    /// <param name="images">Number of rows, at least 1.</param>
    /// <param name="texts">Number of columns, a multiple of <paramref name="images"/>.</param>
    /// <param name="ties">What equal scores mean.</param>
    /// <exception cref="ArgumentException">The sizes do not fit, or a value is NaN.</exception>
    public static Retrieval Measure<T>(ReadOnlyMemory<T> similarity, int images, int texts, TieRule ties = TieRule.LowerIndexFirst)
        where T : INumber<T>
    {
        if (images < 1 || texts < images || texts % images != 0 || similarity.Length != (long)images * texts)
        {
            throw new ArgumentException($"similarities of {images} images with {texts} texts must be {images} x {texts} values with as many texts for every image; there are {similarity.Length}", nameof(similarity));
        }

        for (int i = 0; i < similarity.Length; i++)
        {
            if (T.IsNaN(similarity.Span[i]))
            {
                throw new ArgumentException($"the similarity in row {i / texts}, column {i % texts} is NaN", nameof(similarity));
            }
        }

        int perImage = texts / images;
        int[] imageRanks = new int[images];
        int[] textRanks = new int[texts];
        int tied = 0;
        Parallel.For(0, images, image =>
        {
            ReadOnlySpan<T> row = similarity.Span.Slice(image * texts, texts);
            int best = Ranks.Best(row, image * perImage, perImage);
            imageRanks[image] = Rank(row, best);
            if (Ranks.Ties(row, best) > 0)
            {
                Interlocked.Increment(ref tied);
            }
        });
        Parallel.For(0, texts, () => new T[images], (text, _, column) =>
        {
            ReadOnlySpan<T> all = similarity.Span;
            for (int image = 0; image < images; image++)
            {
                column[image] = all[(image * texts) + text];
            }

            textRanks[text] = Rank(column, text / perImage);
            if (Ranks.Ties<T>(column, text / perImage) > 0)
            {
                Interlocked.Increment(ref tied);
            }

            return column;
        }, _ => { });
        return new Retrieval(RecallResult.From(imageRanks), RecallResult.From(textRanks), tied);

        int Rank(ReadOnlySpan<T> scores, int target) => ties == TieRule.ShareRank ? Ranks.Above(scores, target) : Ranks.Of(scores, target);
    }

    /// <summary>Ranks every query from unit features, with a block of similarities at a time.</summary>
    /// <param name="images">images x e.</param>
    /// <param name="texts">texts x e, as many for every image.</param>
    /// <param name="ties">What equal scores mean.</param>
    /// <param name="best">How many of the best candidates to keep for every query; 0 keeps no query.</param>
    /// <param name="parity">Whether similarities are rounded to float16.</param>
    /// <param name="cancel">Stops between blocks.</param>
    public static Retrieval FromFeatures(
        Tensor images, Tensor texts, TieRule ties = TieRule.LowerIndexFirst, int best = 0, Parity parity = Parity.None, CancellationToken cancel = default)
    {
        int perImage = (int)(texts.shape[0] / images.shape[0]);
        int tied = 0;
        QueryHits[] imageQueries = RankRows(images, texts, (row, image) => Rank(row, Ranks.Best(row, image * perImage, perImage)));
        QueryHits[] textQueries = RankRows(texts, images, (row, text) => Rank(row, text / perImage));
        return new Retrieval(RecallResult.From(Array.ConvertAll(imageQueries, hits => hits.Rank)), RecallResult.From(Array.ConvertAll(textQueries, hits => hits.Rank)), tied)
        {
            ImageQueries = best > 0 ? imageQueries : [],
            TextQueries = best > 0 ? textQueries : [],
        };

        QueryHits Rank(ReadOnlySpan<float> scores, int target)
        {
            if (Ranks.Ties(scores, target) > 0)
            {
                Interlocked.Increment(ref tied);
            }

            return QueryHits.From(scores, target, ties == TieRule.ShareRank ? Ranks.Above(scores, target) : Ranks.Of(scores, target), best);
        }

        QueryHits[] RankRows(Tensor queries, Tensor candidates, HitsOfRow rank)
        {
            int count = (int)queries.shape[0];
            int columns = (int)candidates.shape[0];
            QueryHits[] hits = new QueryHits[count];
            for (int first = 0; first < count; first += BlockRows)
            {
                cancel.ThrowIfCancellationRequested();
                int start = first;
                using DisposeScope scope = NewDisposeScope();
                Tensor block = queries.narrow(0, start, Math.Min(BlockRows, count - start)).matmul(candidates.t());
                float[] scores = Rounded(block, parity).data<float>().ToArray();
                Parallel.For(0, scores.Length / columns, row => hits[start + row] = rank(scores.AsSpan(row * columns, columns), start + row));
            }

            return hits;
        }
    }

    /// <summary>Values as a precision holds them, in float32.</summary>
    /// <param name="values">Features or similarities.</param>
    /// <param name="parity">The precision.</param>
    public static Tensor Rounded(Tensor values, Parity parity) => parity == Parity.F16 ? values.to(float16).to(float32) : values;

    /// <summary>The six recalls, <c>image_to_text_R@1</c> to <c>text_to_image_R@10</c>, shares from 0 to 1.</summary>
    public JsonObject ToJson()
    {
        JsonObject json = [];
        ImageToText.AddTo(json, "image_to_text");
        TextToImage.AddTo(json, "text_to_image");
        return json;
    }
}
