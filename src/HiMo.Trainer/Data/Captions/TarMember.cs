// SPDX-License-Identifier: Apache-2.0
using System.Globalization;

namespace HiMo.Trainer;

/// <summary>
/// A file inside a tar, written as a path: <c>shard.tar!offset+length!name</c>. So a record of a shard is a path like any other, and one
/// read finds its bytes without unpacking anything.
/// </summary>
/// <param name="Tar">The tar file.</param>
/// <param name="Offset">First byte of the member's data in it.</param>
/// <param name="Length">Number of bytes.</param>
/// <param name="Name">The member's name, for messages.</param>
internal sealed record TarMember(string Tar, long Offset, long Length, string Name)
{
    private const string Extension = ".tar!";

    /// <summary>The member that a path names, or null for an ordinary path.</summary>
    /// <param name="path">Any path.</param>
    public static TarMember? Parse(string path)
    {
        int end = path.IndexOf(Extension, StringComparison.OrdinalIgnoreCase);
        if (end < 0)
        {
            return null;
        }

        string[] rest = path[(end + Extension.Length)..].Split('!', 2);
        string[] place = rest[0].Split('+');
        return rest.Length == 2 && place.Length == 2
            && long.TryParse(place[0], NumberStyles.None, CultureInfo.InvariantCulture, out long offset)
            && long.TryParse(place[1], NumberStyles.None, CultureInfo.InvariantCulture, out long length)
            ? new TarMember(path[..(end + Extension.Length - 1)], offset, length, rest[1])
            : null;
    }

    /// <summary>The path that <see cref="Parse"/> reads.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Tar}!{Offset}+{Length}!{Name}");
}
