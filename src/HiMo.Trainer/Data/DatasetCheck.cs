// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>What is missing or broken in a data set, found before a run and not in its middle.</summary>
/// <param name="Images">Different image files.</param>
/// <param name="Captions">Captions.</param>
/// <param name="BlankCaptions">Captions without a visible character.</param>
/// <param name="Problems">One message for every image that is missing, damaged or too large.</param>
internal sealed record DatasetCheck(int Images, int Captions, int BlankCaptions, IReadOnlyList<string> Problems)
{
    /// <summary>Whether nothing was found.</summary>
    public bool IsSound => Problems.Count == 0 && BlankCaptions == 0;

    /// <summary>Looks at every image.</summary>
    /// <param name="images">Paths; repeated ones are looked at once.</param>
    /// <param name="captions">Captions.</param>
    /// <param name="leftOut">Captions that the reader left out, because they are blank.</param>
    /// <param name="decode">Decodes every image instead of reading its header only; finds damage inside, at the cost of a pass over all data.</param>
    /// <param name="progress">Receives the number of images looked at; may be null.</param>
    /// <param name="cancel">Stops the work.</param>
    public static DatasetCheck Run(IEnumerable<string> images, IReadOnlyCollection<string> captions, int leftOut, bool decode, Func<int, Action<int>>? progress = null, CancellationToken cancel = default)
    {
        string[] unique = [.. images.Distinct()];
        Action<int>? report = progress?.Invoke(unique.Length);
        string?[] problems = new string?[unique.Length];
        int done = 0;
        Parallel.For(0, unique.Length, new ParallelOptions { CancellationToken = cancel }, i =>
        {
            try
            {
                ImageFile.Check(unique[i], decode);
            }
            catch (UserError problem)
            {
                problems[i] = problem.Message;
            }

            report?.Invoke(Interlocked.Increment(ref done));
        });
        return new DatasetCheck(unique.Length, captions.Count + leftOut, captions.Count(string.IsNullOrWhiteSpace) + leftOut, [.. problems.OfType<string>()]);
    }
}
