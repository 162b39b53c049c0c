// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Unit features of many images and texts: texts of equal ids are encoded once, texts of like length together. The encoders run where the model
/// lies; features come back to the CPU batch by batch, and what is made of them is computed there.
/// </summary>
internal static class FeatureEncoder
{
    private const int TextBatch = 256;
    private const int ImageBatch = 64;
    private const int ShownFrom = 500;

    /// <summary>Features of preprocessed images.</summary>
    /// <param name="model">The model.</param>
    /// <param name="images">n x 3 x R x R values, R the model's resolution.</param>
    /// <param name="cancel">Stops between batches.</param>
    /// <returns>n x e, rows of length 1.</returns>
    /// <exception cref="UserError">A feature is not finite.</exception>
    public static Tensor Images(ClipModel model, float[] images, CancellationToken cancel = default)
    {
        int values = 3 * model.Config.ImageResolution * model.Config.ImageResolution;
        return Images(model, images.Length / values, (first, count) => images[(first * values)..((first + count) * values)], cancel);
    }

    /// <summary>Features of image files, which are read and preprocessed batch by batch, the next one while one is encoded.</summary>
    /// <param name="model">The model.</param>
    /// <param name="paths">The files.</param>
    /// <param name="rgbFirst">Whether they are converted to RGB before they are resized.</param>
    /// <param name="cancel">Stops between batches.</param>
    /// <param name="messages">Shows how far a large set is; may be null.</param>
    /// <returns>n x e, rows of length 1.</returns>
    /// <exception cref="UserError">A file cannot be decoded, or a feature is not finite.</exception>
    public static Tensor Images(ClipModel model, IReadOnlyList<string> paths, bool rgbFirst, CancellationToken cancel = default, TextWriter? messages = null)
    {
        ImagePreprocessor preprocessor = new(model.Config.ImageResolution, rgbFirst);
        using Progress? progress = messages is null || paths.Count < ShownFrom ? null : new Progress("images", paths.Count, messages);
        Task<float[]> next = Load(0);
        Tensor features = Images(model, paths.Count, (first, count) =>
        {
            progress?.Report(first);
            float[] values = next.GetAwaiter().GetResult();
            next = Load(first + count);
            return values;
        }, cancel);
        progress?.Report(paths.Count);
        return features;

        Task<float[]> Load(int first) => Task.Run(() =>
        {
            string[] batch = [.. paths.Skip(first).Take(ImageBatch)];
            float[] values = new float[batch.Length * preprocessor.ValuesPerImage];
            preprocessor.Load(batch, values, cancel);
            return values;
        });
    }

    private static Tensor Images(ClipModel model, int count, Func<int, int, float[]> load, CancellationToken cancel)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        int size = model.Config.ImageResolution;
        List<Tensor> parts = [];
        for (int first = 0; first < count; first += ImageBatch)
        {
            cancel.ThrowIfCancellationRequested();
            using DisposeScope batch = NewDisposeScope();
            parts.Add(model.EncodeImage(tensor(load(first, Math.Min(ImageBatch, count - first))).view(-1, 3, size, size)).cpu().MoveToOuterDisposeScope());
        }

        return Unit(cat(parts), "image").MoveToOuterDisposeScope();
    }

    /// <summary>Features of texts.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="texts">Any number of texts, at least one.</param>
    /// <param name="cancel">Stops between batches.</param>
    /// <returns>n x e in the order of the texts, rows of length 1; and how many texts were longer than the context and cut.</returns>
    /// <exception cref="UserError">A feature is not finite, or a word is unknown.</exception>
    public static (Tensor Features, int Truncated) Texts(ClipModel model, ITokenizer tokenizer, IReadOnlyList<string> texts, CancellationToken cancel = default)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        int context = model.Config.ContextLength;
        Dictionary<int[], int> unique = new(IdsComparer.Instance);
        long[] rowOfText = new long[texts.Count];
        int truncated = 0;
        for (int i = 0; i < texts.Count; i++)
        {
            int[] ids = tokenizer.Encode(texts[i], context);
            truncated += ids[^1] != 0 && tokenizer.Count(texts[i]) > context ? 1 : 0;
            unique.TryAdd(ids, unique.Count);
            rowOfText[i] = unique[ids];
        }

        (int[] Ids, int Row)[] sorted = [.. unique.Select(pair => (pair.Key, pair.Value)).OrderBy(pair => Array.IndexOf(pair.Key, pair.Key.Max()))];
        List<Tensor> parts = [];
        long[] place = new long[sorted.Length]; // where a row stands among the sorted ones
        for (int start = 0; start < sorted.Length; start += TextBatch)
        {
            cancel.ThrowIfCancellationRequested();
            using DisposeScope batch = NewDisposeScope();
            int count = Math.Min(TextBatch, sorted.Length - start);
            long[] ids = new long[count * context];
            for (int i = 0; i < count; i++)
            {
                place[sorted[start + i].Row] = start + i;
                Array.Copy(sorted[start + i].Ids, 0, ids, i * context, context);
            }

            parts.Add(model.EncodeText(tensor(ids).view(count, context)).cpu().MoveToOuterDisposeScope());
        }

        Tensor order = tensor(Array.ConvertAll(rowOfText, row => place[row]));
        return (Unit(cat(parts), "text").index_select(0, order).MoveToOuterDisposeScope(), truncated);
    }

    private static Tensor Unit(Tensor features, string kind)
    {
        Tensor unit = nn.functional.normalize(features, p: 2, dim: 1, eps: 1e-12);
        return unit.isfinite().all().item<bool>()
            ? unit
            : throw new UserError($"the model's {kind} features are not finite; its weights are damaged, or its training diverged");
    }

    private sealed class IdsComparer : IEqualityComparer<int[]>
    {
        public static IdsComparer Instance { get; } = new();

        public bool Equals(int[]? x, int[]? y) => x.AsSpan().SequenceEqual(y);

        public int GetHashCode(int[] ids)
        {
            HashCode hash = default;
            hash.AddBytes(System.Runtime.InteropServices.MemoryMarshal.AsBytes(ids.AsSpan()));
            return hash.ToHashCode();
        }
    }
}
