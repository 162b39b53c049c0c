// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// The images of a run that cannot be read: each counts once, is named in bad_images.tsv beside the log, and too many of them end the run. A
/// continued run counts on.
/// </summary>
internal sealed class BadImages
{
    /// <summary>Name of the list in a run's folder.</summary>
    public const string FileName = "bad_images.tsv";

    private readonly int _limit;
    private readonly HashSet<string> _paths = new(StringComparer.Ordinal);

    /// <summary>Reads the list of an earlier part of the run.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="limit">How many are allowed.</param>
    /// <exception cref="UserError">The list cannot be read.</exception>
    public BadImages(string folder, int limit)
    {
        (File, _limit) = (Path.Combine(folder, FileName), limit);
        try
        {
            _paths.UnionWith(System.IO.File.Exists(File) ? System.IO.File.ReadLines(File).Select(line => line.Split('\t')[0]) : []);
        }
        catch (IOException failure)
        {
            throw new UserError($"{File}: cannot be read ({failure.Message})", failure);
        }
    }

    /// <summary>The list, one path and reason a line; it exists once there is a bad image.</summary>
    public string File { get; }

    /// <summary>How many there are.</summary>
    public int Count => _paths.Count;

    /// <summary>Notes an image.</summary>
    /// <param name="path">Its file.</param>
    /// <param name="reason">Why it cannot be read.</param>
    /// <exception cref="UserError">There are more than allowed, or the list cannot be written.</exception>
    public void Add(string path, UserError reason)
    {
        if (!_paths.Add(path))
        {
            return;
        }

        try
        {
            System.IO.File.AppendAllText(File, $"{path}\t{reason.Message.ReplaceLineEndings(" ").Replace('\t', ' ')}\n");
        }
        catch (IOException failure)
        {
            throw new UserError($"{File}: cannot be written ({failure.Message})", failure);
        }

        if (Count > _limit)
        {
            string all = Count > 1 ? $"; it is number {Count}, all are listed in {File}" : "";
            throw new UserError($"{reason.Message}{all}; --max-bad-images N goes on with others in the place of up to N, it is {_limit}", reason);
        }
    }
}
