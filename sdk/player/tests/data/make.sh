#!/bin/sh
# Makes the fixtures of this folder (FFmpeg 5.1 with libx264): a title of five seconds in segments of one second, two
# rungs, one sound, as DASH and HLS over the same files. Every picture is one flat grey, lighter with the frame number,
# with some noise below so that segments have a size; the sound is a 1 kHz beep in the first 100 ms of each second.
set -eu
cd "$(dirname "$0")"
grey="color=c=black:r=10:d=5:s=96x54,format=yuv420p,geq=lum='if(lt(Y,27),16+4*N,random(1)*200)':cb=128:cr=128"
beep="aevalsrc=exprs='0.5*sin(2*PI*1000*t)*lt(mod(t\,1)\,0.1)':s=48000:d=5"
x264="-c:v libx264 -preset medium -bf 2 -b_strategy 0 -g 10 -keyint_min 10 -sc_threshold 0 -flags +bitexact -x264-params info=0"
ffmpeg -v error -y -fflags +bitexact -f lavfi -i "$grey" -f lavfi -i "$beep" -map 0:v -map 0:v -map 1:a \
    $x264 -b:v:0 60k -maxrate:v:0 60k -bufsize:v:0 60k -b:v:1 160k -maxrate:v:1 160k -bufsize:v:1 160k \
    -c:a aac -b:a 32k -flags:a +bitexact \
    -seg_duration 1 -frag_type none -init_seg_name 'init-$RepresentationID$.mp4' -media_seg_name '$RepresentationID$-$Number$.m4s' \
    -adaptation_sets 'id=0,streams=v id=1,streams=a' -hls_playlist 1 -f dash stream.mpd
{
    echo WEBVTT; echo
    echo '00:00:01.000 --> 00:00:02.000'; echo 'first line'; echo
    echo '00:00:03.000 --> 00:00:04.000'; echo 'second line'
} > text.vtt
# The upper rung and the sound again, each in one file, for byte ranges.
ffmpeg -v error -y -fflags +bitexact -i stream.mpd -map 0:v:1 -map 0:a -c copy -seg_duration 1 -frag_type none -single_file 1 \
    -single_file_name 'single-$RepresentationID$.mp4' -adaptation_sets 'id=0,streams=v id=1,streams=a' -f dash single.mpd
# Subtitles as one file, and nothing of the day the fixtures were made on.
sed -i 's|^\t</Period>|\t\t<AdaptationSet id="2" contentType="text" mimeType="text/vtt" lang="en">\n\t\t\t<Representation id="t" bandwidth="100"><BaseURL>text.vtt</BaseURL></Representation>\n\t\t</AdaptationSet>\n&|' stream.mpd
sed -i '/PROGRAM-DATE-TIME/d' media_*.m3u8
