# Completes commands, options and datasets of scripts/… in bash: source scripts/completion.bash
# Once anything is installed: the commands themselves are asked.
_taxiway_scripts() {
    local kind value script=${COMP_WORDS[0]}
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(
        COMP_WORDS="taxiway ${script##*/} ${COMP_WORDS[*]:1}" COMP_CWORD=$((COMP_CWORD + 1)) \
            _TAXIWAY_COMPLETE=bash_complete "${script%scripts/*}.venv/bin/taxiway" 2>/dev/null
    )
}
# bash looks a command up as it is typed.
for _taxiway_file in "$(dirname "${BASH_SOURCE[0]}")"/*; do
    if [[ -f $_taxiway_file && -x $_taxiway_file ]]; then
        complete -o nosort -F _taxiway_scripts {,./}scripts/"${_taxiway_file##*/}"
    fi
done
unset _taxiway_file
