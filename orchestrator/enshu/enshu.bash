# Completion of enshu for bash. Commands and options come from the program's own help.
_enshu()
{
    local word=${COMP_WORDS[COMP_CWORD]} i command= rest
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -*) ;;
        *)
            rest=$(enshu help 2>/dev/null | sed -n "s/^  \(${COMP_WORDS[i]}\( [a-z]*\)\?\)  *[a-z].*/\1/p")
            command=${COMP_WORDS[i]}
            if ((i + 1 < COMP_CWORD)) && [[ $'\n'$rest$'\n' == *$'\n'"$command ${COMP_WORDS[i + 1]}"$'\n'* ]]; then
                command="$command ${COMP_WORDS[i + 1]}"
            fi
            break
            ;;
        esac
    done
    if [ -z "$command" ]; then
        COMPREPLY=($(compgen -W "$(enshu help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\)\( [a-z]*\)\?  *[a-z].*/\1/p')" -- "$word"))
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$(enshu help $command 2>/dev/null | sed -n 's/^  \(--[a-z]*\).*/\1/p')" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word")
            $(compgen -W "$(enshu help 2>/dev/null | sed -n "s/^  $command \([a-z]*\)  *[a-z].*/\1/p")" -- "$word"))
    fi
}
complete -o filenames -F _enshu enshu
