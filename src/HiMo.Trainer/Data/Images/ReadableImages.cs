// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Which images of a list can be read: sets whose protocol skips the others are made of these.</summary>
internal static class ReadableImages
{
    /// <summary>Decodes all images once and keeps what belongs to those that can be read, in order.</summary>
    /// <param name="all">At least one.</param>
    /// <param name="path">Its image.</param>
    /// <param name="source">The set, for messages.</param>
    /// <returns>What is kept, and how many are not.</returns>
    /// <exception cref="UserError">No image can be read; the message says why the first cannot.</exception>
    public static (IReadOnlyList<T> Readable, int Unreadable) Of<T>(IReadOnlyList<T> all, Func<T, string> path, string source)
    {
        UserError?[] failures = Failures(all, path, decode: true);
        T[] readable = [.. all.Where((_, i) => failures[i] is null)];
        return readable.Length > 0
            ? (readable, all.Count - readable.Length)
            : throw new UserError($"{source}: none of its {all.Count} images can be read; --images names their folder. The first: {failures[0]!.Message}", failures[0]);
    }

    /// <summary>Why each image cannot be read; null where it can.</summary>
    /// <param name="all">Any number.</param>
    /// <param name="path">Its image.</param>
    /// <param name="decode">Whether damage behind the header is looked for.</param>
    public static UserError?[] Failures<T>(IReadOnlyList<T> all, Func<T, string> path, bool decode)
    {
        UserError?[] failures = new UserError?[all.Count];
        _ = Parallel.For(0, all.Count, i =>
        {
            try
            {
                ImageFile.Check(path(all[i]), decode);
            }
            catch (UserError failure)
            {
                failures[i] = failure;
            }
        });
        return failures;
    }
}
