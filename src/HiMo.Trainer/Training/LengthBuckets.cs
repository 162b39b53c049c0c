// SPDX-License-Identifier: Apache-2.0
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Encodes the texts of a batch in groups of similar length. The encoder computes as many positions as the longest text of a call has, so
/// a batch of mixed lengths costs less in parts; each text's features are those of the whole batch.
/// </summary>
internal static class LengthBuckets
{
    private const int Buckets = 4;
    private const int SmallestBucket = 16;

    /// <summary>B x e features in the order of the texts, not normalised, on the model's device.</summary>
    /// <param name="model">The encoder.</param>
    /// <param name="ids">B x context token ids, row by row; the end token has the highest id and zeros follow it.</param>
    /// <param name="rows">B, at least 1.</param>
    public static Tensor EncodeText(ClipModel model, long[] ids, int rows)
    {
        int context = ids.Length / rows;
        long[] order = [.. Enumerable.Range(0, rows).OrderBy(row => Length(ids.AsSpan(row * context, context))).Select(row => (long)row)];
        int buckets = Math.Clamp(rows / SmallestBucket, 1, Buckets);
        Tensor[] parts = new Tensor[buckets];
        for (int bucket = 0; bucket < buckets; bucket++)
        {
            long[] members = order[(bucket * rows / buckets)..((bucket + 1) * rows / buckets)];
            long[] selected = [.. members.SelectMany(row => ids.AsSpan((int)row * context, context).ToArray())];
            parts[bucket] = model.EncodeText(tensor(selected, [members.Length, context]));
        }

        long[] place = new long[rows];
        for (int i = 0; i < rows; i++)
        {
            place[order[i]] = i;
        }

        return cat(parts).index_select(0, tensor(place).On(model.Device));
    }

    private static int Length(ReadOnlySpan<long> ids) => ids.TrimEnd(0L).Length;
}
